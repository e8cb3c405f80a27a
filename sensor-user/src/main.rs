//! The command `sekisho`: from the command line to what carries it out.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use sensor_user::app::{self, RunOptions};
use sensor_user::cli::{self, Cli, Output, ReplayArgs, RunArgs, Task, UpgradeArgs};
use sensor_user::drill::{self, DrillOptions};
use sensor_user::load;
use sensor_user::replay::{self, ReplayOptions};
use sensor_user::upgrade::{self, UpgradeOptions};
use sensor_user::{detach, doctor, explain, verify};

fn main() -> ExitCode {
    // Messages of the daemon go to standard error, as systemd wants them; RUST_LOG says more or less.
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info,netlink_proto=error"))
        .format_timestamp(None)
        .format_target(false)
        .init();
    let done = match Cli::parse().task {
        Task::Client(task) => return cli::run(&task),
        Task::Verify(args) => return verify::run(&args),
        Task::Run(args) => app::run(run_options(args)).map(|()| true),
        Task::Replay(args) => replay::run(&replay_options(args)),
        Task::Explain(args) => explain::run(&args),
        Task::Load(args) => load::run(&args.bridge, &args.pin_dir, &args.group),
        Task::Drill(args) => drill::run(&DrillOptions {
            json: args.ask.output.output == Output::Json,
            socket: args.ask.socket,
            within: Duration::from_nanos(args.within_ns),
        }),
        Task::Upgrade(args) => upgrade::run(&upgrade_options(args)),
        Task::Doctor(args) => {
            let json = args.output.output == Output::Json;
            return doctor::run(args.bridge.as_deref(), &args.pin_dir, json)
                .unwrap_or_else(|error| cli::fail(&error));
        }
        Task::Detach(args) => {
            detach::run(&args.pin_dir, args.bridge.as_deref(), args.output.output == Output::Json)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => cli::fail(&told(&error)),
    }
}

/// An error and its causes, but for those it names itself.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        said if said.contains(&cause) => told,
        said => format!("{said}: {cause}"),
    })
}

fn run_options(args: RunArgs) -> RunOptions {
    RunOptions {
        bridge: args.bridge,
        config: args.config,
        state_dir: args.state_dir,
        socket: args.socket,
        pin_dir: args.pin_dir,
        metrics: args.metrics.map(|listen| listen.0),
        mode: args.mode,
        request: args.request,
        replace: args.replace,
        json: args.tell.json(),
        events: args.tell.kinds(),
    }
}

fn upgrade_options(args: UpgradeArgs) -> UpgradeOptions {
    UpgradeOptions {
        bridge: args.bridge,
        pin_dir: args.pin_dir,
        prove: args.prove,
        object: args.object,
        json: args.output.output == Output::Json,
    }
}

fn replay_options(args: ReplayArgs) -> ReplayOptions {
    ReplayOptions {
        paths: args.inputs,
        config: args.config,
        enforce: args.enforce,
        json: args.tell.json(),
        events: args.tell.kinds(),
    }
}
