//! Flags of outgoing connections.

use std::net::{Ipv4Addr, Ipv6Addr};

use authz::net::Networks;
use clap::Args;
use ipnet::IpNet;

/// Outgoing connections.
#[derive(Debug, Args)]
pub struct NetworkArgs {
    /// Private networks that issuers and services may be on, also over plain http; `run` and `explain` add loopback. Public addresses over
    /// https are always allowed.
    #[arg(long, value_name = "CIDR", num_args = 1.., env = "GATEWRIGHT_ALLOW_NETWORK", value_delimiter = ',')]
    pub allow_network: Vec<IpNet>,
}

impl NetworkArgs {
    /// What was given. In a cluster nothing else: an author of a policy must not reach what listens beside us in the pod.
    pub(crate) fn given(&self) -> Networks {
        Networks::new(self.allow_network.clone())
    }

    /// Loopback too: for who serves files from his own machine.
    pub(crate) fn with_loopback(&self) -> Networks {
        let loopback = [
            IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
            IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128),
        ];
        Networks::new(self.allow_network.iter().copied().chain(loopback).collect())
    }
}
