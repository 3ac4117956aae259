//! What a peer keeps, durably.
