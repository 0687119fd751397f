"""What servers, machine and settings must be like for the promises to hold: pure rules over facts.

``taskmesh doctor`` prints every finding; a worker refuses to start on those that are ``refused``. Both judge by the
same rules, so they cannot disagree.
"""
