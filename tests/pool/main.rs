//! Pools, through the public interface and on real processes.

#[path = "../common/mod.rs"]
mod common;

mod after;
mod asynchronous;
mod bounded;
mod calls;
mod checkpoints;
mod closed;
mod combinations;
mod current_task;
mod descendants;
mod drain;
mod each_worker;
mod errors;
mod faults;
mod forged;
mod forks;
mod generate;
mod hostile;
mod inline;
mod insight;
mod ipc_channel;
mod keyed;
mod large;
mod later;
mod leaks;
mod life;
mod limits;
mod link;
#[cfg(feature = "log")]
mod logs;
mod numbers;
#[cfg(feature = "cluster")]
mod over_nodes;
mod priorities;
mod report;
mod rest;
mod retries;
mod scheduling;
mod seats;
mod streams;
mod template;
mod threads;
mod trace_context;
#[cfg(feature = "tracing")]
mod tracing_events;
mod vectors;
mod view;
mod worker_env;
mod worker_events;
