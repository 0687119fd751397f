"""``python -m tests.nemesis.submitter RUN_ID SECONDS``: submits one diamond, as a producer that may die."""

from __future__ import annotations

import sys

from tests.nemesis.app import diamond, mesh


def main(run_id: str) -> None:
    mesh.submit(diamond, id=run_id)
    mesh.close()


if __name__ == "__main__":
    main(sys.argv[1])
