//! When and where does a task run?

pub mod decide;
pub mod hours;
pub mod room;
