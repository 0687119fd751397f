# Sourced by the scripts beside it: says things, finds Python, makes .venv and installs into it.

VENV=.venv

say() {
    printf '%s\n' "$*"
}

# tell TEXT...: says it on standard error, where it is in the way of no `-o json`.
tell() {
    say "$@" >&2
}

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 2
}

# find_python: prints the first Python that is new enough.
find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3.13 python3.12 python3.11 python3 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    die "taskmesh needs Python 3.11 or newer, and none was found (python3 is" \
        "$(python3 --version 2>/dev/null || printf 'not there')); install one, or name it: PYTHON=/path/to/python3.11 $0"
}

# make_venv: makes .venv where there is none that works.
make_venv() {
    local python
    "$VENV/bin/python" -c 'import pip' 2>/dev/null && return
    python=$(find_python)
    tell "making $VENV with $("$python" --version)"
    "$python" -m venv --clear "$VENV" >/dev/null 2>&1 && return
    rm -rf "$VENV"
    die "$python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"
}

# install_project EXTRA: installs the project with an extra ("" for none) unless that has been done.
install_project() {
    local extra=$1 stamp="$VENV/.installed${1:+-$1}" wanted
    wanted=$(cat setup.cfg pyproject.toml | cksum)
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
    tell "installing taskmesh${extra:+ with what its tests need} into $VENV"
    "$VENV/bin/python" -m pip install -qq --disable-pip-version-check --editable ".${extra:+[$extra]}" ||
        die "installing failed; pip says above what was missing"
    # An extra brings the rest along.
    printf '%s\n' "$wanted" | tee "$stamp" >"$VENV/.installed"
}
