"""The maintenance role: takes work back from holders that are gone, and publishes again what was lost.

The authority is Redis: a node that is due is in its pool's outbox until it has ended. The keeper sends a probe through
every shard. A probe that has come through proves that everything published before it was delivered; a node that was due
before that, and that no living holder runs, has no message any more. Two keepers at once
do no harm: every step is a script that checks before it writes.
"""
