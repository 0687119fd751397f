# Sourced by scripts/test: makes sure that RabbitMQ and Redis can be started, and says so where they cannot.

# provide_servers ARGUMENT...: returns when every server is given or installed; the arguments are those of the test
# run, which goes on inside a container where only Docker is there.
provide_servers() {
    local missing
    missing=$(missing_servers)
    [ -z "$missing" ] && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        install_debian_packages $missing
        missing=$(missing_servers)
        [ -z "$missing" ] || die "installed, but still not found: $missing"
    elif docker info >/dev/null 2>&1; then
        run_in_docker "$@"
    else
        die "not on this machine:" $missing"; install it (Debian and Ubuntu: apt-get install rabbitmq-server" \
            "redis-server; macOS: brew install rabbitmq redis), start Docker, or name running servers in" \
            "TASKMESH_TEST_BROKER_URL and TASKMESH_TEST_STORE_URL"
    fi
}

# missing_servers: prints the packages of the servers that are neither named by a URL nor installed.
missing_servers() {
    "$VENV/bin/python" -m tests.harness
}

# install_debian_packages PACKAGE...: installs without starting the services, which would be servers of the machine.
install_debian_packages() (
    policy=/usr/sbin/policy-rc.d
    aside=$policy.before-taskmesh
    put_back() {
        rm -f "$policy"
        if [ -e "$aside" ]; then mv "$aside" "$policy"; fi
    }
    say "installing $*"
    if [ -e "$policy" ]; then mv "$policy" "$aside"; fi
    trap put_back EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null || die "apt-get could not install: $*"
)

# run_in_docker ARGUMENT...: ends this script with the same test run on a copy inside a Debian container, where
# the servers are installed as on any other Debian.
run_in_docker() {
    say "neither servers nor root here: running the tests in a container"
    exec docker run --rm --volume "$PWD:/source:ro" python:3.11-bookworm bash -ceu '
        mkdir /project
        tar -C /source --exclude=./.venv --exclude=./.taskmesh --exclude=./.git -c . | tar -C /project -x
        cd /project
        exec ./scripts/test "$@"' test "$@"
}
