"""Running sweeps: what comes next (plan), what was asked (studies), who runs it (Ray Tune)."""
