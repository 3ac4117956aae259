//! What the tests share: the simulator of a whole community, and the smallest task.

pub mod sim;
pub mod trivial;
