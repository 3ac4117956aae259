//! A whole peer of Task Mesh as a state machine without IO.
