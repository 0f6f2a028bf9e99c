//! `gatewright run`: everything in one process, from files.
//!
//! Owns where policies come from; the process around them is [`crate::process`].

mod publish;
mod uses;

use std::{io, path::Path, sync::Arc};

use authz::server::LogLevel;
use crds::documents::Objects;
use tokio::sync::Mutex;
use tracing::info;

use crate::{
    cli::{self, RunArgs},
    config::{self, ConfigError, Watch},
    process::{self, Addresses, Broker, Core, DataDir, Parts, ProcessError, named},
    worker::{self, Gone},
};
use publish::Publisher;
use uses::Keeper;

/// Exit 0 after a drain, 1 when something failed, 2 on usage and unreadable configuration.
pub(crate) fn command(args: &RunArgs) -> u8 {
    process::command(&args.process, async |log_level| start(args, log_level).await)
}

/// Reads the configuration and puts it in force, before any socket is open.
async fn start(args: &RunArgs, log_level: LogLevel) -> Result<Parts, ProcessError> {
    let data = args.data_dir.clone().or_else(cli::default_data_dir);
    data.iter().try_for_each(|data| config::apart(&args.config.paths, data))?;
    let data_dir = DataDir::open(data);
    let mut core = Core::new(&args.process, data_dir.path(), args.process.network.with_loopback())?;
    let (mut watch, objects) = Watch::start(&args.config.paths).await?;
    let broker = Broker {
        address: args.broker_address,
        issuer: args.signing_issuer.clone().filter(|issuer| !issuer.is_empty()),
        data_dir: data_dir.path().map(Path::to_owned),
    };
    let uses = data_dir.path().map(|path| Arc::new(Mutex::new(Keeper::open(path, core.uses.clone()))));
    let publisher = Publisher::new(data_dir, core.snapshots.clone(), core.keys.clone(), &mut core.registry);
    let mut publisher = publish(publisher, objects).await.map_err(ConfigError::from)?;
    info!(version = env!("CARGO_PKG_VERSION"), policies = core.snapshots.load().entries().len(), "started");
    let addresses = Addresses { authz: args.authz_address.clone(), broker: Some(broker), admin: args.admin_address };
    let verdicts = publisher.verdicts();
    let mut parts = core.parts(&args.process, addresses, log_level, verdicts, Box::pin(std::future::ready(None)));
    parts.spawn(named("the watch of documents", async move {
        loop {
            let objects = watch.next().await.map_err(io::Error::other)?;
            publisher = publish(publisher, objects).await.map_err(io::Error::other)?;
        }
    }));
    if let Some(uses) = uses {
        parts.spawn(named("last uses of API keys", Keeper::run(uses.clone(), args.process.key_use_interval)));
        parts.at_the_end(Keeper::write(uses));
    }
    Ok(parts)
}

async fn publish(mut publisher: Publisher, objects: Objects) -> Result<Publisher, Gone> {
    let published = move || {
        publisher.publish(objects);
        publisher
    };
    worker::run(published).await
}
