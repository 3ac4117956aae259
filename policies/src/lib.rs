//! What Task Mesh decides, as pure functions with their reasons.
