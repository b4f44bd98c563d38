//! The start of discovery (DISC-20).

use crate::budget::FLOW_TIME;
use crate::config::Discovery;
use crate::core::Core;
use crate::error::{Cause, Stage, Violation};
use crate::state::attempt::{Attempt, Errand, ServerErrand};
use crate::state::discovery::cached_resource::LoadingResource;
use crate::state::discovery::listing::{is_superseded, without_resource_metadata};
use crate::state::discovery::resource::FetchingResource;
use crate::state::discovery::server::configured;
use crate::state::{Next, Step};
use crate::wish::Click;

/// Starts an attempt beside a redirect that may be out: that one ends where the documents lead elsewhere now.
pub(crate) fn read_documents(core: &mut Core, click: Click) -> Step {
    if let Some(key) = click.authorization.seed.revision_key() {
        core.identity.seal_with(key);
    }
    let attempt = Attempt::new(core, click)?;
    locate(core, Errand::Authorize(attempt))
}

/// Locates the resource's authorization server: by configuration, by metadata read a moment ago, or by
/// metadata.
pub(crate) fn locate(core: &mut Core, errand: Errand) -> Step {
    // Metadata read a moment ago, for the challenge that this flow answers.
    let just_read = core.memory.resource.take().map(|read| *read);
    if let Some((at, facts)) = just_read
        && core.now.mono < at.plus(FLOW_TIME)
        && !is_superseded(core, &facts)
    {
        return Ok(Next::Listed(errand, facts));
    }
    match &core.config().discovery {
        Discovery::Standard => LoadingResource::begin(core, errand),
        Discovery::ResourceMetadata(url) => {
            let url = url.clone();
            FetchingResource::begin_at(core, errand, url)
        }
        Discovery::Issuer(issuer) => {
            let facts = without_resource_metadata(core.config(), issuer);
            Ok(Next::ReadServer(ServerErrand::Resource(errand), facts, 0))
        }
        Discovery::ServerMetadata(issuer, json) => {
            let facts = without_resource_metadata(core.config(), issuer);
            match configured(core.config(), issuer, json) {
                Ok(server) => Ok(Next::Found(ServerErrand::Resource(errand), facts, server)),
                Err(flaw) => Err(errand.fails(
                    Stage::ServerMetadata,
                    Some(issuer),
                    Cause::Violation(Violation::Metadata(flaw)),
                )),
            }
        }
    }
}
