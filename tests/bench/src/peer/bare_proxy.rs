//! A peer: Pingora with nothing added, the same version, allocator, thread and pool as the gateway's.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Result;
use async_trait::async_trait;
use pingora::prelude::*;
use pingora::server::RunArgs;
use pingora::server::configuration::ServerConf;

struct Bare {
    origin: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.origin, false, String::new())))
    }
}

/// Serves until killed.
///
/// # Errors
/// None that is told: the library ends the process.
pub(crate) fn serve(listen: SocketAddr, origin: SocketAddr) -> Result<ExitCode> {
    let settings = ServerConf { threads: 1, upstream_keepalive_pool_size: 512, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, settings);
    server.bootstrap();
    let mut proxy = http_proxy_service(&server.configuration, Bare { origin });
    proxy.add_tcp(&listen.to_string());
    server.add_service(proxy);
    server.run(RunArgs::default());
    Ok(ExitCode::SUCCESS)
}
