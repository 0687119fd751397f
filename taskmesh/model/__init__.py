"""The rules: what a flow is, which states exist, what may follow what. Pure; stdlib only."""
