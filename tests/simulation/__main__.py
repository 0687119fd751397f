"""``./scripts/simulate``: plays seeds, and says of each that fails what happened."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from redis.connection import ConnectionPool

from tests.harness.redis import RedisServer
from tests.simulation.simulation import Played, play


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("--seed", type=int, help="play this one, and print what happened")
    parser.add_argument("--seeds", type=int, default=200, help="play so many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="beginning with this one")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first that fails")
    parser.add_argument("--only", action="append", metavar="FAULT", help="this fault and no others; may be repeated")
    parser.add_argument("--hash", action="store_true", help="print the hash of what happened instead")
    chosen = parser.parse_args()
    with RedisServer(overrides={"appendonly": "no"}) as server:
        pool = ConnectionPool.from_url(server.unix_url)
        try:
            if chosen.seed is not None:
                played = play(chosen.seed, pool, chosen.only)
                if chosen.hash:
                    print(played.hash)
                    return bool(played.broken)
                print("\n".join(played.lines))
                return _report(played)
            return _play_many(pool, range(chosen.first, chosen.first + chosen.seeds), chosen)
        finally:
            pool.disconnect()


def _play_many(pool: ConnectionPool, seeds: range, chosen: argparse.Namespace) -> int:
    struck: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    failed, slowest, begun = [], 0.0, time.monotonic()
    for seed in seeds:
        played = play(seed, pool, chosen.only)
        struck.update(played.struck)
        totals.update({name: int(value) for name, value in played.figures.items()})
        if played.figures["healed_seconds"] > slowest:
            slowest = played.figures["healed_seconds"]
            print(f"seed {seed}: everything at its end after {slowest:g} s")
        if played.broken:
            failed.append(seed)
            _report(played)
            if not chosen.keep_going:
                break
    print(f"{len(seeds)} seeds in {time.monotonic() - begun:.1f} s; slowest recovery {slowest:g} s")
    print(dict(totals))
    print(dict(struck.most_common()))
    print(f"failed: {failed or 'none'}")
    return 1 if failed else 0


def _report(played: Played) -> int:
    print(f"seed {played.seed}: {played.broken or 'all is well'}  {played.figures}")
    if played.broken:
        print(f"    to see it happen: ./scripts/simulate --seed {played.seed}")
    return 1 if played.broken else 0


if __name__ == "__main__":
    sys.exit(main())
