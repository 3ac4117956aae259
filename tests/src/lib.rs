//! What the tests share: the simulator of a whole community.

pub mod sim;
