//! The device authorization grant (RFC 8628): the request for the codes, and the polls with the device code.

use super::{Client, Resource, TokenGrant};
use crate::issuer::{AtIssuer, Endpoint};
use crate::key::KeyBinding;
use crate::secret::Secret;
use crate::slot::AuthorizationId;
use crate::time::UnixMillis;
use crate::wire::form::Form;
use crate::wire::scopes::Scopes;
use crate::wire::words::GrantType;

/// A request for a device code and a user code (RFC 8628 section 3.1).
pub(crate) struct DeviceRequest {
    pub(crate) client: Client,
    pub(crate) resource: Resource,
    pub(crate) requested: Scopes,
    /// Whether the machine added `offline_access` (SCOPE-06).
    pub(crate) added_offline_access: bool,
    /// The key that the tokens will be bound to.
    pub(crate) binding: Option<KeyBinding>,
    /// Whether an account was stored when the codes were requested: a slot without one means that the user has signed
    /// out since (REFR-12).
    pub(crate) beside_account: bool,
    pub(crate) created: UnixMillis,
}

/// A device code, which the user approves at the server that issued it.
pub(crate) struct DeviceGrant {
    code: Secret,
    pub(crate) request: DeviceRequest,
}

impl DeviceGrant {
    /// Returns the name of this authorization.
    pub(crate) fn authorization(&self) -> AuthorizationId {
        AuthorizationId::of_device_code(self.code.expose())
    }
}

impl AtIssuer<DeviceRequest> {
    /// Returns the grant, with the device code that this server has just issued.
    pub(crate) fn issued(self, code: Secret) -> AtIssuer<DeviceGrant> {
        self.then(|request| DeviceGrant { code, request })
    }
}

impl TokenGrant for DeviceRequest {
    const ENDPOINT: Endpoint = Endpoint::DeviceAuthorization;

    fn encode(&self, form: &mut Form) {
        self.resource.push(form);
        if !self.requested.is_empty() {
            form.push("scope", self.requested.as_str());
        }
    }

    fn client(&self) -> &Client {
        &self.client
    }
}

impl TokenGrant for DeviceGrant {
    fn encode(&self, form: &mut Form) {
        form.push("grant_type", GrantType::DeviceCode.as_str());
        form.push("device_code", self.code.expose());
        self.request.resource.push(form);
    }

    fn client(&self) -> &Client {
        &self.request.client
    }

    fn binding(&self) -> Option<&KeyBinding> {
        self.request.binding.as_ref()
    }
}
