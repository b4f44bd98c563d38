-- The slots of mcp-auth-client: accounts, sign-ins under way, registrations and cached metadata.
-- The contents are secret unless they are sealed.
CREATE TABLE IF NOT EXISTS mcp_auth_slots (
    slot     text   PRIMARY KEY,
    revision text   NOT NULL,
    contents bytea  NOT NULL,
    -- Unix milliseconds; NULL: no end.
    expires  bigint
);

CREATE INDEX IF NOT EXISTS mcp_auth_slots_expires
    ON mcp_auth_slots (expires) WHERE expires IS NOT NULL;
