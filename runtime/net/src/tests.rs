//! Peers that really talk, on 127.0.0.1. No test waits for luck: each waits for an event, or for a counter.

mod blobs;
mod bounds;
mod channels;
mod dials;
mod follows;
mod harness;
mod relays;
mod returns;
mod strangers;
