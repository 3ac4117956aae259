//! Sources against servers on loopback that answer as the real ones do, and the whole way from a source to the news.

mod mixing;
mod server;
mod services;
