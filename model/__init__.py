"""The reference model: what any engine that keeps the contract may do next, and what it must have done by now."""
