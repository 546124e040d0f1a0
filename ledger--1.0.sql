/* SPDX-License-Identifier: PostgreSQL */
\echo Use "CREATE EXTENSION ledger" to load this file. \quit

/*
 * The schema belongs to the extension: it must not exist before (whoever had made it could put objects of their own
 * into it), and it goes with the extension.
 *
 * Everything is named with its schema, so that no search_path matters.
 */
CREATE SCHEMA ledger;
COMMENT ON SCHEMA ledger IS 'double-entry ledger: accounts, transfers, their functions and views';

-------------------------------------------------------------------------------------------------------------
-- Types
-------------------------------------------------------------------------------------------------------------

-- Flags: one label for each bit, in the order of the bits.

CREATE TYPE ledger.account_flag AS ENUM (
    'linked',
    'debits_must_not_exceed_credits',
    'credits_must_not_exceed_debits',
    'history',
    'imported',
    'closed'
);
COMMENT ON TYPE ledger.account_flag IS 'what an account may do';

CREATE TYPE ledger.transfer_flag AS ENUM (
    'linked',
    'pending',
    'post_pending_transfer',
    'void_pending_transfer',
    'balancing_debit',
    'balancing_credit',
    'closing_debit',
    'closing_credit',
    'imported'
);
COMMENT ON TYPE ledger.transfer_flag IS 'what a transfer does';

/*
 * Statuses are enums and not text: a misspelt name in a comparison is an error at once, not a condition that never
 * holds; and a result takes four bytes.
 */
CREATE TYPE ledger.create_account_status AS ENUM (
    'created',
    'linked_event_failed',
    'linked_event_chain_open',
    'timestamp_must_be_zero',
    'reserved_field',
    'reserved_flag',
    'id_must_not_be_zero',
    'id_must_not_be_int_max',
    'flags_are_mutually_exclusive',
    'debits_pending_must_be_zero',
    'debits_posted_must_be_zero',
    'credits_pending_must_be_zero',
    'credits_posted_must_be_zero',
    'ledger_must_not_be_zero',
    'code_must_not_be_zero',
    'exists_with_different_flags',
    'exists_with_different_user_data_128',
    'exists_with_different_user_data_64',
    'exists_with_different_user_data_32',
    'exists_with_different_ledger',
    'exists_with_different_code',
    'exists',
    'imported_event_expected',
    'imported_event_not_expected',
    'imported_event_timestamp_out_of_range',
    'imported_event_timestamp_must_not_advance',
    'imported_event_timestamp_must_not_regress'
);
COMMENT ON TYPE ledger.create_account_status IS 'the outcome of creating one account';

CREATE TYPE ledger.create_transfer_status AS ENUM (
    'created',
    'linked_event_failed',
    'linked_event_chain_open',
    'timestamp_must_be_zero',
    'reserved_flag',
    'id_must_not_be_zero',
    'id_must_not_be_int_max',
    'flags_are_mutually_exclusive',
    'debit_account_id_must_not_be_zero',
    'debit_account_id_must_not_be_int_max',
    'credit_account_id_must_not_be_zero',
    'credit_account_id_must_not_be_int_max',
    'accounts_must_be_different',
    'pending_id_must_be_zero',
    'pending_id_must_not_be_zero',
    'pending_id_must_not_be_int_max',
    'pending_id_must_be_different',
    'timeout_reserved_for_pending_transfer',
    'ledger_must_not_be_zero',
    'code_must_not_be_zero',
    'debit_account_not_found',
    'credit_account_not_found',
    'accounts_must_have_the_same_ledger',
    'transfer_must_have_the_same_ledger_as_accounts',
    'pending_transfer_not_found',
    'pending_transfer_not_pending',
    'pending_transfer_has_different_debit_account_id',
    'pending_transfer_has_different_credit_account_id',
    'pending_transfer_has_different_ledger',
    'pending_transfer_has_different_code',
    'exceeds_pending_transfer_amount',
    'pending_transfer_has_different_amount',
    'pending_transfer_already_posted',
    'pending_transfer_already_voided',
    'pending_transfer_expired',
    'exists_with_different_flags',
    'exists_with_different_debit_account_id',
    'exists_with_different_credit_account_id',
    'exists_with_different_amount',
    'exists_with_different_pending_id',
    'exists_with_different_user_data_128',
    'exists_with_different_user_data_64',
    'exists_with_different_user_data_32',
    'exists_with_different_timeout',
    'exists_with_different_code',
    'exists',
    'overflows_debits_pending',
    'overflows_credits_pending',
    'overflows_debits_posted',
    'overflows_credits_posted',
    'overflows_debits',
    'overflows_credits',
    'overflows_timeout',
    'exceeds_credits',
    'exceeds_debits',
    'imported_event_expected',
    'imported_event_not_expected',
    'imported_event_timestamp_out_of_range',
    'imported_event_timestamp_must_not_advance',
    'imported_event_timestamp_must_not_regress',
    'imported_event_timestamp_must_postdate_debit_account',
    'imported_event_timestamp_must_postdate_credit_account',
    'imported_event_timeout_must_be_zero',
    'closing_transfer_must_be_pending',
    'debit_account_already_closed',
    'credit_account_already_closed',
    'exists_with_different_ledger',
    'id_already_failed'
);
COMMENT ON TYPE ledger.create_transfer_status IS 'the outcome of creating one transfer';

CREATE TYPE ledger.change_event_type AS ENUM (
    'single_phase',
    'two_phase_pending',
    'two_phase_posted',
    'two_phase_voided',
    'two_phase_expired'
);
COMMENT ON TYPE ledger.change_event_type IS 'what changed balances';

CREATE TYPE ledger.hold_state AS ENUM (
    'open',
    'posted',
    'voided',
    'expired'
);
COMMENT ON TYPE ledger.hold_state IS 'what became of a pending transfer (hold)';

-- What clients send. NULL is zero or none, except in id, ledger, code, amount and the accounts of a transfer.

CREATE TYPE ledger.account_input AS (
    id uuid,
    user_data_128 uuid,
    user_data_64 bigint,
    user_data_32 bigint,
    ledger bigint,
    code integer,
    flags ledger.account_flag[],
    "timestamp" bigint
);
COMMENT ON TYPE ledger.account_input IS 'an account to create';
COMMENT ON COLUMN ledger.account_input."timestamp" IS 'ns since 1970, only with the flag imported';

CREATE TYPE ledger.transfer_input AS (
    id uuid,
    debit_account_id uuid,
    credit_account_id uuid,
    amount numeric,
    pending_id uuid,
    user_data_128 uuid,
    user_data_64 bigint,
    user_data_32 bigint,
    timeout bigint,
    ledger bigint,
    code integer,
    flags ledger.transfer_flag[],
    "timestamp" bigint
);
COMMENT ON TYPE ledger.transfer_input IS
    'a transfer to create; one that posts or voids takes what is NULL from the pending transfer';
COMMENT ON COLUMN ledger.transfer_input.amount IS 'whole minor units, 0 to 2^128 - 1';
COMMENT ON COLUMN ledger.transfer_input.timeout IS 'seconds, only with the flag pending; 0: never expires';
COMMENT ON COLUMN ledger.transfer_input."timestamp" IS 'ns since 1970, only with the flag imported';

-- What creating answers: one row for each event, in order. `index` is its position in the array, from 1.

CREATE TYPE ledger.create_account_result AS (
    index integer,
    status ledger.create_account_status,
    "timestamp" bigint
);
COMMENT ON TYPE ledger.create_account_result IS
    'the outcome for one account; created: its timestamp, exists: that of the existing one, else: when it was judged';

CREATE TYPE ledger.create_transfer_result AS (
    index integer,
    status ledger.create_transfer_status,
    "timestamp" bigint
);
COMMENT ON TYPE ledger.create_transfer_result IS
    'the outcome for one transfer; created: its timestamp, exists: that of the existing one, else: when it was judged';

-------------------------------------------------------------------------------------------------------------
-- Ids and amounts
-------------------------------------------------------------------------------------------------------------

CREATE FUNCTION ledger.id(number numeric) RETURNS uuid
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'ledger_id';
COMMENT ON FUNCTION ledger.id IS 'the id with this number, 0 to 2^128 - 1';

CREATE FUNCTION ledger.id_numeric(id uuid) RETURNS numeric
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'ledger_id_numeric';
COMMENT ON FUNCTION ledger.id_numeric IS 'the number of this id; the inverse of ledger.id()';

CREATE FUNCTION ledger.uuidv7() RETURNS uuid
LANGUAGE C VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'ledger_uuidv7';
COMMENT ON FUNCTION ledger.uuidv7 IS 'a new id, greater than all that this session made before';

CREATE FUNCTION ledger.amount_max() RETURNS numeric
LANGUAGE SQL IMMUTABLE PARALLEL SAFE
RETURN 340282366920938463463374607431768211455;
COMMENT ON FUNCTION ledger.amount_max IS
    'the largest amount, 2^128 - 1; as much as possible in a balancing transfer';

-------------------------------------------------------------------------------------------------------------
-- Creating one account or transfer
-------------------------------------------------------------------------------------------------------------

/*
 * For people: what fails raises an error. Repeating a call with the same arguments succeeds, with status `exists`.
 * NULL in an optional argument is its default.
 *
 * They return the status alone, and not a row: of a function that returns a row, `(f()).*` makes one call for each
 * column. The timestamp is in ledger.accounts and ledger.transfers.
 */

CREATE FUNCTION ledger.create_account(
    id uuid,
    ledger bigint,
    code integer,
    flags ledger.account_flag[] DEFAULT '{}',
    user_data_128 uuid DEFAULT NULL,
    user_data_64 bigint DEFAULT 0,
    user_data_32 bigint DEFAULT 0,
    "timestamp" bigint DEFAULT NULL
) RETURNS ledger.create_account_status
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ledger_create_account';
COMMENT ON FUNCTION ledger.create_account IS 'creates an account';

CREATE FUNCTION ledger.create_transfer(
    id uuid,
    debit_account_id uuid,
    credit_account_id uuid,
    amount numeric,
    ledger bigint,
    code integer,
    flags ledger.transfer_flag[] DEFAULT '{}',
    timeout interval DEFAULT NULL,
    user_data_128 uuid DEFAULT NULL,
    user_data_64 bigint DEFAULT 0,
    user_data_32 bigint DEFAULT 0,
    "timestamp" bigint DEFAULT NULL
) RETURNS ledger.create_transfer_status
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ledger_create_transfer';
COMMENT ON FUNCTION ledger.create_transfer IS
    'moves an amount between two accounts, or reserves it (flag pending); an amount of 0 is allowed and moves nothing';

CREATE FUNCTION ledger.post_pending_transfer(
    id uuid,
    pending_id uuid,
    amount numeric DEFAULT NULL,
    user_data_128 uuid DEFAULT NULL,
    user_data_64 bigint DEFAULT 0,
    user_data_32 bigint DEFAULT 0
) RETURNS ledger.create_transfer_status
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ledger_post_pending_transfer';
COMMENT ON FUNCTION ledger.post_pending_transfer IS
    'moves what a pending transfer reserved: all of it, or less and releases the rest';

CREATE FUNCTION ledger.void_pending_transfer(
    id uuid,
    pending_id uuid,
    user_data_128 uuid DEFAULT NULL,
    user_data_64 bigint DEFAULT 0,
    user_data_32 bigint DEFAULT 0
) RETURNS ledger.create_transfer_status
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ledger_void_pending_transfer';
COMMENT ON FUNCTION ledger.void_pending_transfer IS 'releases what a pending transfer reserved';

-------------------------------------------------------------------------------------------------------------
-- Creating many
-------------------------------------------------------------------------------------------------------------

/*
 * For programs: one result for each event. An error means that the input is malformed and nothing was sent, or that
 * the outcome is unknown and the same batch may be sent again.
 *
 * A batch of more than 8,190 events is sent in pieces. Linked chains are never torn apart (hence a chain has at most
 * 8,190 events); each piece is durable by itself. That all events are imported, or none, is checked in each piece.
 */

CREATE FUNCTION ledger.create_accounts(events ledger.account_input[])
RETURNS SETOF ledger.create_account_result
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 1000
AS 'MODULE_PATHNAME', 'ledger_create_accounts';
COMMENT ON FUNCTION ledger.create_accounts IS 'creates accounts; one result for each, in order';

CREATE FUNCTION ledger.create_transfers(events ledger.transfer_input[])
RETURNS SETOF ledger.create_transfer_result
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 1000
AS 'MODULE_PATHNAME', 'ledger_create_transfers';
COMMENT ON FUNCTION ledger.create_transfers IS 'creates transfers; one result for each, in order';

-- Records of 128 bytes in, results of 16 bytes out: timestamp (8), status (4; 0xffffffff is created), zero (4).

CREATE FUNCTION ledger.create_accounts_packed(events bytea) RETURNS bytea
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ledger_create_accounts_packed';
COMMENT ON FUNCTION ledger.create_accounts_packed IS
    'creates accounts from little-endian records of 128 bytes; returns 16 bytes for each';

CREATE FUNCTION ledger.create_transfers_packed(events bytea) RETURNS bytea
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ledger_create_transfers_packed';
COMMENT ON FUNCTION ledger.create_transfers_packed IS
    'creates transfers from little-endian records of 128 bytes; returns 16 bytes for each';

-------------------------------------------------------------------------------------------------------------
-- Foreign tables
-------------------------------------------------------------------------------------------------------------

CREATE FUNCTION ledger.ledger_fdw_handler() RETURNS fdw_handler
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'ledger_fdw_handler';
COMMENT ON FUNCTION ledger.ledger_fdw_handler IS 'how foreign tables read the ledger';

CREATE FUNCTION ledger.ledger_fdw_validator(options text[], catalog oid) RETURNS void
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'ledger_fdw_validator';
COMMENT ON FUNCTION ledger.ledger_fdw_validator IS 'checks the options of foreign tables';

CREATE FOREIGN DATA WRAPPER ledger_fdw
    HANDLER ledger.ledger_fdw_handler
    VALIDATOR ledger.ledger_fdw_validator;
COMMENT ON FOREIGN DATA WRAPPER ledger_fdw IS 'reads the ledger';

CREATE SERVER ledger FOREIGN DATA WRAPPER ledger_fdw;
COMMENT ON SERVER ledger IS 'the ledger of this database server';

/*
 * For SELECT, joins and aggregates: conditions, order and limit go to the engine where it has an index (see EXPLAIN).
 * Rows are as of when they are read, whatever the isolation level.
 *
 * These are also the row types of the functions that read. NULL stands for "none" in user_data_128 and pending_id;
 * integers are shown as they are. Amounts have 39 digits, as 2^128 - 1 has, and say so: then drivers take them for
 * whole numbers.
 */

CREATE FOREIGN TABLE ledger.accounts (
    id uuid NOT NULL,
    debits_pending numeric(39,0) NOT NULL,
    debits_posted numeric(39,0) NOT NULL,
    credits_pending numeric(39,0) NOT NULL,
    credits_posted numeric(39,0) NOT NULL,
    user_data_128 uuid,
    user_data_64 bigint NOT NULL,
    user_data_32 bigint NOT NULL,
    ledger bigint NOT NULL,
    code integer NOT NULL,
    flags ledger.account_flag[] NOT NULL,
    "timestamp" bigint NOT NULL,
    created_at timestamptz NOT NULL
) SERVER ledger OPTIONS (relation 'accounts');
COMMENT ON FOREIGN TABLE ledger.accounts IS
    'the accounts and their balances now';
COMMENT ON COLUMN ledger.accounts.created_at IS
    'the timestamp cut to microseconds, which many accounts share: to go on where one stopped, use "timestamp"';

CREATE FOREIGN TABLE ledger.transfers (
    id uuid NOT NULL,
    debit_account_id uuid NOT NULL,
    credit_account_id uuid NOT NULL,
    amount numeric(39,0) NOT NULL,
    pending_id uuid,
    user_data_128 uuid,
    user_data_64 bigint NOT NULL,
    user_data_32 bigint NOT NULL,
    timeout bigint NOT NULL,
    ledger bigint NOT NULL,
    code integer NOT NULL,
    flags ledger.transfer_flag[] NOT NULL,
    "timestamp" bigint NOT NULL,
    created_at timestamptz NOT NULL,
    state ledger.hold_state,
    expires_at timestamptz,
    resolved_by uuid,
    resolved_at timestamptz
) SERVER ledger OPTIONS (relation 'transfers');
COMMENT ON FOREIGN TABLE ledger.transfers IS
    'the transfers; those that are holds say what became of them';
COMMENT ON COLUMN ledger.transfers.created_at IS
    'the timestamp cut to microseconds, which many transfers share: to go on where one stopped, use "timestamp"';
COMMENT ON COLUMN ledger.transfers.state IS 'of a hold (flag pending); NULL: it is none';
COMMENT ON COLUMN ledger.transfers.expires_at IS 'when the hold expires or would have; NULL: never';
COMMENT ON COLUMN ledger.transfers.resolved_by IS 'the transfer that posted or voided the hold; NULL: it is open or expired';
COMMENT ON COLUMN ledger.transfers.resolved_at IS
    'when the hold was posted, voided, or released by its expiry; NULL: it is open';

CREATE FOREIGN TABLE ledger.account_balances (
    account_id uuid NOT NULL,
    debits_pending numeric(39,0) NOT NULL,
    debits_posted numeric(39,0) NOT NULL,
    credits_pending numeric(39,0) NOT NULL,
    credits_posted numeric(39,0) NOT NULL,
    "timestamp" bigint NOT NULL,
    created_at timestamptz NOT NULL
) SERVER ledger OPTIONS (relation 'account_balances');
COMMENT ON FOREIGN TABLE ledger.account_balances IS
    'the balances of an account after each of its transfers, and after each expiry of a hold; needs account_id = ...';
COMMENT ON COLUMN ledger.account_balances.created_at IS
    'the timestamp cut to microseconds, which many rows share: to go on where one stopped, use "timestamp"';

CREATE FOREIGN TABLE ledger.change_events (
    transfer_id uuid NOT NULL,
    transfer_amount numeric(39,0) NOT NULL,
    transfer_pending_id uuid,
    transfer_user_data_128 uuid,
    transfer_user_data_64 bigint NOT NULL,
    transfer_user_data_32 bigint NOT NULL,
    transfer_timeout bigint NOT NULL,
    transfer_code integer NOT NULL,
    transfer_flags ledger.transfer_flag[] NOT NULL,
    ledger bigint NOT NULL,
    type ledger.change_event_type NOT NULL,
    debit_account_id uuid NOT NULL,
    debit_account_debits_pending numeric(39,0) NOT NULL,
    debit_account_debits_posted numeric(39,0) NOT NULL,
    debit_account_credits_pending numeric(39,0) NOT NULL,
    debit_account_credits_posted numeric(39,0) NOT NULL,
    debit_account_user_data_128 uuid,
    debit_account_user_data_64 bigint NOT NULL,
    debit_account_user_data_32 bigint NOT NULL,
    debit_account_code integer NOT NULL,
    debit_account_flags ledger.account_flag[] NOT NULL,
    credit_account_id uuid NOT NULL,
    credit_account_debits_pending numeric(39,0) NOT NULL,
    credit_account_debits_posted numeric(39,0) NOT NULL,
    credit_account_credits_pending numeric(39,0) NOT NULL,
    credit_account_credits_posted numeric(39,0) NOT NULL,
    credit_account_user_data_128 uuid,
    credit_account_user_data_64 bigint NOT NULL,
    credit_account_user_data_32 bigint NOT NULL,
    credit_account_code integer NOT NULL,
    credit_account_flags ledger.account_flag[] NOT NULL,
    "timestamp" bigint NOT NULL,
    transfer_timestamp bigint NOT NULL,
    debit_account_timestamp bigint NOT NULL,
    credit_account_timestamp bigint NOT NULL,
    created_at timestamptz NOT NULL
) SERVER ledger OPTIONS (relation 'change_events');
COMMENT ON FOREIGN TABLE ledger.change_events IS
    'what changed balances, with both accounts as they were after it: transfers and expiries';
COMMENT ON COLUMN ledger.change_events.created_at IS
    'the timestamp cut to microseconds, which many events share: to go on where one stopped, use "timestamp"';

-------------------------------------------------------------------------------------------------------------
-- Functions that read
-------------------------------------------------------------------------------------------------------------

/*
 * Volatile, because they show what is committed now, not what was when the statement or the transaction began:
 * a call after a write in the same statement must see it. Parallel restricted: the leader makes the call.
 *
 * NULL is no filter, and no limit: all rows, read page by page. A filter that makes no sense is an error.
 */

CREATE FUNCTION ledger.lookup_accounts(ids uuid[]) RETURNS SETOF ledger.accounts
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'ledger_lookup_accounts';
COMMENT ON FUNCTION ledger.lookup_accounts IS
    'the accounts with these ids, in this order; ids that do not exist are left out';

CREATE FUNCTION ledger.lookup_transfers(ids uuid[]) RETURNS SETOF ledger.transfers
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'ledger_lookup_transfers';
COMMENT ON FUNCTION ledger.lookup_transfers IS
    'the transfers with these ids, in this order; ids that do not exist are left out';

CREATE FUNCTION ledger.get_account_transfers(
    account_id uuid,
    debits boolean DEFAULT true,
    credits boolean DEFAULT true,
    user_data_128 uuid DEFAULT NULL,
    user_data_64 bigint DEFAULT NULL,
    user_data_32 bigint DEFAULT NULL,
    code integer DEFAULT NULL,
    timestamp_min bigint DEFAULT NULL,
    timestamp_max bigint DEFAULT NULL,
    "limit" bigint DEFAULT NULL,
    reversed boolean DEFAULT false
) RETURNS SETOF ledger.transfers
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1000
AS 'MODULE_PATHNAME', 'ledger_get_account_transfers';
COMMENT ON FUNCTION ledger.get_account_transfers IS
    'the transfers of an account, oldest first, or newest first if reversed; all of them, without a limit';

CREATE FUNCTION ledger.get_account_balances(
    account_id uuid,
    debits boolean DEFAULT true,
    credits boolean DEFAULT true,
    user_data_128 uuid DEFAULT NULL,
    user_data_64 bigint DEFAULT NULL,
    user_data_32 bigint DEFAULT NULL,
    code integer DEFAULT NULL,
    timestamp_min bigint DEFAULT NULL,
    timestamp_max bigint DEFAULT NULL,
    "limit" bigint DEFAULT NULL,
    reversed boolean DEFAULT false
) RETURNS SETOF ledger.account_balances
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1000
AS 'MODULE_PATHNAME', 'ledger_get_account_balances';
COMMENT ON FUNCTION ledger.get_account_balances IS
    'the balances of an account with the flag history after each of its transfers, not of expiries, filtered as by '
    'get_account_transfers; ledger.account_balances has all of any account';

CREATE FUNCTION ledger.query_accounts(
    user_data_128 uuid DEFAULT NULL,
    user_data_64 bigint DEFAULT NULL,
    user_data_32 bigint DEFAULT NULL,
    ledger bigint DEFAULT NULL,
    code integer DEFAULT NULL,
    timestamp_min bigint DEFAULT NULL,
    timestamp_max bigint DEFAULT NULL,
    "limit" bigint DEFAULT NULL,
    reversed boolean DEFAULT false
) RETURNS SETOF ledger.accounts
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1000
AS 'MODULE_PATHNAME', 'ledger_query_accounts';
COMMENT ON FUNCTION ledger.query_accounts IS
    'the accounts that match all filters, oldest first, or newest first if reversed; all of them, without a limit';

CREATE FUNCTION ledger.query_transfers(
    user_data_128 uuid DEFAULT NULL,
    user_data_64 bigint DEFAULT NULL,
    user_data_32 bigint DEFAULT NULL,
    ledger bigint DEFAULT NULL,
    code integer DEFAULT NULL,
    timestamp_min bigint DEFAULT NULL,
    timestamp_max bigint DEFAULT NULL,
    "limit" bigint DEFAULT NULL,
    reversed boolean DEFAULT false
) RETURNS SETOF ledger.transfers
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1000
AS 'MODULE_PATHNAME', 'ledger_query_transfers';
COMMENT ON FUNCTION ledger.query_transfers IS
    'the transfers that match all filters, oldest first, or newest first if reversed; all of them, without a limit';

CREATE FUNCTION ledger.get_change_events(
    timestamp_min bigint DEFAULT NULL,
    timestamp_max bigint DEFAULT NULL,
    "limit" bigint DEFAULT NULL,
    reversed boolean DEFAULT false
) RETURNS SETOF ledger.change_events
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1000
AS 'MODULE_PATHNAME', 'ledger_get_change_events';
COMMENT ON FUNCTION ledger.get_change_events IS
    'what changed balances, transfers and expiries: oldest first, or newest first if reversed; all of them, without a limit';

-------------------------------------------------------------------------------------------------------------
-- The ledger itself
-------------------------------------------------------------------------------------------------------------

-- For superusers, whatever is granted. What they do is not part of the transaction.

CREATE FUNCTION ledger.create_ledger() RETURNS uuid
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ledger_create_ledger';
COMMENT ON FUNCTION ledger.create_ledger IS
    'makes a new, empty ledger in ledger.data_directory, where this server has none; for superusers';

CREATE FUNCTION ledger.adopt(ledger uuid) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ledger_adopt';
COMMENT ON FUNCTION ledger.adopt IS
    'makes the ledger in ledger.data_directory this server''s own; for superusers, after an upgrade or a restore';

-------------------------------------------------------------------------------------------------------------
-- A cluster of nodes
-------------------------------------------------------------------------------------------------------------

-- For superusers, whatever is granted. What they do is not part of the transaction.

CREATE FUNCTION ledger.cluster_create() RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ledger_cluster_create';
COMMENT ON FUNCTION ledger.cluster_create IS
    'makes this server''s ledger, a new one if it has none, a cluster whose first node it is; for superusers';

CREATE FUNCTION ledger.cluster_add(name text) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ledger_cluster_add';
COMMENT ON FUNCTION ledger.cluster_add IS
    'lets the node of that name into the cluster; at any member, for superusers';

CREATE FUNCTION ledger.cluster_remove(name text) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ledger_cluster_remove';
COMMENT ON FUNCTION ledger.cluster_remove IS
    'removes the node of that name from the cluster, for ever; at any member, for superusers';

CREATE FUNCTION ledger.cluster_step_down() RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'ledger_cluster_step_down';
COMMENT ON FUNCTION ledger.cluster_step_down IS
    'has another node be the cluster''s primary; at the primary, for superusers';

-------------------------------------------------------------------------------------------------------------
-- Monitoring
-------------------------------------------------------------------------------------------------------------

/*
 * Read from shared memory: they answer when the engine does not. Numbers are renewed every 100 ms while the engine
 * works; published_at says when.
 */

CREATE FUNCTION ledger.get_status(
    OUT role text,
    OUT message text,
    OUT detail text,
    OUT hint text,
    OUT view bigint,
    OUT op bigint,
    OUT commit_op bigint,
    OUT checkpoint_op bigint,
    OUT "timestamp" bigint,
    OUT wal_used bigint,
    OUT wal_size bigint,
    OUT grid_used bigint,
    OUT grid_size bigint,
    OUT memory_size bigint,
    OUT accounts bigint,
    OUT transfers bigint,
    OUT io_method text,
    OUT io_direct boolean,
    OUT data_directory text,
    OUT worker_pid integer,
    OUT worker_starts bigint,
    OUT opened_at timestamptz,
    OUT ops_replayed bigint,
    OUT published_at timestamptz,
    OUT scrub_progress double precision,
    OUT scrub_tours bigint,
    OUT damaged_blocks bigint,
    OUT ledger uuid,
    OUT node text
)
LANGUAGE C VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'ledger_status';
COMMENT ON FUNCTION ledger.get_status IS 'the row of ledger.status';

CREATE VIEW ledger.status AS SELECT * FROM ledger.get_status();
COMMENT ON VIEW ledger.status IS 'what the engine is doing, in one row';
COMMENT ON COLUMN ledger.status.role IS
    'primary: it works; backup, view_change, catching_up, no_room: it is a cluster''s member and works; starting, opening: wait; none, guest, standby, refused, stopped: message, detail and hint say why';
COMMENT ON COLUMN ledger.status.message IS
    'why the engine does not work; or, while it does, what it cannot do: because of a damaged block, or of nodes of the cluster that are lost';
COMMENT ON COLUMN ledger.status.op IS 'the newest operation in the log';
COMMENT ON COLUMN ledger.status.commit_op IS 'the newest operation that has taken effect';
COMMENT ON COLUMN ledger.status.checkpoint_op IS 'the newest operation of the checkpoint: a restart replays those after it';
COMMENT ON COLUMN ledger.status."timestamp" IS 'of the newest commit, ns since 1970';
COMMENT ON COLUMN ledger.status.wal_used IS 'bytes; a checkpoint frees them';
COMMENT ON COLUMN ledger.status.grid_used IS 'bytes';
COMMENT ON COLUMN ledger.status.memory_size IS 'bytes: ledger.memory, of which the engine takes all';
COMMENT ON COLUMN ledger.status.io_method IS 'in effect: io_uring or sync';
COMMENT ON COLUMN ledger.status.io_direct IS 'in effect: files bypass the page cache';
COMMENT ON COLUMN ledger.status.worker_starts IS 'since the server started';
COMMENT ON COLUMN ledger.status.opened_at IS 'when the files were opened; NULL: they are not open';
COMMENT ON COLUMN ledger.status.scrub_progress IS
    'how much of all data was verified in this tour, 0 to 1; ledger.scrub_interval is the time for a tour';
COMMENT ON COLUMN ledger.status.scrub_tours IS 'tours completed since the files were opened';
COMMENT ON COLUMN ledger.status.damaged_blocks IS
    'blocks in use that are known to be damaged; the server log names them';
COMMENT ON COLUMN ledger.status.ledger IS
    'which ledger the data directory holds, also one that is refused because it is another server''s: ledger.adopt() takes it';

COMMENT ON COLUMN ledger.status.node IS 'ledger.node_name; NULL: the ledger is alone';

CREATE FUNCTION ledger.get_cluster(
    OUT name text,
    OUT slot integer,
    OUT role text,
    OUT state text,
    OUT is_self boolean,
    OUT address text,
    OUT view bigint,
    OUT op bigint,
    OUT lag_ops bigint,
    OUT last_heard interval
)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'ledger_cluster';
COMMENT ON FUNCTION ledger.get_cluster IS 'the rows of ledger.cluster';

CREATE VIEW ledger.cluster AS SELECT * FROM ledger.get_cluster();
COMMENT ON VIEW ledger.cluster IS
    'the members of the cluster, and nodes that wait to be added, as this node sees them; no rows if the ledger is alone';
COMMENT ON COLUMN ledger.cluster.slot IS 'the member''s number; NULL: it is no member yet';
COMMENT ON COLUMN ledger.cluster.role IS
    'voter: its acknowledgement counts; standby: it is on the way to be one; guest: it waits for ledger.cluster_add()';
COMMENT ON COLUMN ledger.cluster.state IS 'primary, backup, view_change, catching_up, no_room, unreachable, lost (its server has no ledger), refused (its directory is an older one, or a copy) or guest';
COMMENT ON COLUMN ledger.cluster.address IS 'as ledger.nodes of this server has it; NULL if it doesn''t';
COMMENT ON COLUMN ledger.cluster.op IS 'the newest operation that it has acknowledged; only the primary knows that of others';
COMMENT ON COLUMN ledger.cluster.lag_ops IS 'how many operations it is behind the newest one that is known here';
COMMENT ON COLUMN ledger.cluster.last_heard IS 'how long ago; NULL: it is this node, or was not heard since the start';

CREATE FUNCTION ledger.get_stats(
    OUT requests bigint,
    OUT requests_refused bigint,
    OUT reads bigint,
    OUT prepares bigint,
    OUT pulses bigint,
    OUT accounts_created bigint,
    OUT transfers_created bigint,
    OUT events_failed bigint,
    OUT batch_events_p50 bigint,
    OUT batch_events_p99 bigint,
    OUT batch_events_max bigint,
    OUT batch_requests_p50 bigint,
    OUT batch_requests_p99 bigint,
    OUT batch_requests_max bigint,
    OUT commit_latency_us_p50 double precision,
    OUT commit_latency_us_p99 double precision,
    OUT commit_latency_us_max double precision,
    OUT prepares_log_bytes bigint,
    OUT prepares_log_syncs bigint,
    OUT headers_log_bytes bigint,
    OUT headers_log_syncs bigint,
    OUT solo_write_method text,
    OUT solo_writes_io_uring bigint,
    OUT solo_writes_sync bigint,
    OUT solo_write_us_io_uring double precision,
    OUT solo_write_us_sync double precision,
    OUT checkpoints bigint,
    OUT wake_calls bigint,
    OUT sessions_woken bigint,
    OUT sessions_woken_in_vain bigint,
    OUT since timestamptz,
    OUT published_at timestamptz
)
LANGUAGE C VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'ledger_stats';
COMMENT ON FUNCTION ledger.get_stats IS 'the row of ledger.stats';

CREATE VIEW ledger.stats AS SELECT * FROM ledger.get_stats();
COMMENT ON VIEW ledger.stats IS 'what the engine has done since it opened its files, in one row; NULLs if it never did';
COMMENT ON COLUMN ledger.stats.requests_refused IS 'malformed, no room on disk, or too many tables for ledger.memory';
COMMENT ON COLUMN ledger.stats.prepares IS 'durable batches; each holds the events of one or many sessions';
COMMENT ON COLUMN ledger.stats.pulses IS 'batches that released expired transfers, or passed by many that were resolved in time';
COMMENT ON COLUMN ledger.stats.events_failed IS 'by status in ledger.stats_events; exists is no failure';
COMMENT ON COLUMN ledger.stats.batch_events_p50 IS 'events in a prepare; percentiles are exact to a quarter';
COMMENT ON COLUMN ledger.stats.batch_requests_p50 IS 'requests that shared a prepare';
COMMENT ON COLUMN ledger.stats.wake_calls IS
    'since the server started: calls of the kernel that woke sessions whose answers were there; one for up to 32 of them';
COMMENT ON COLUMN ledger.stats.sessions_woken IS 'since the server started: by these calls; sessions that still looked for their answer need none';
COMMENT ON COLUMN ledger.stats.sessions_woken_in_vain IS
    'since the server started: sessions whose sleep ended before their answer was there, and that slept again';
COMMENT ON COLUMN ledger.stats.commit_latency_us_p50 IS 'microseconds from request to answer, of what creates';
COMMENT ON COLUMN ledger.stats.solo_write_method IS
    'io_uring or sync: how a small prepare is written while no read or other write is under way; with ledger.io_method = auto, what is better';
COMMENT ON COLUMN ledger.stats.solo_writes_io_uring IS 'prepares that were written so, beside nothing else';
COMMENT ON COLUMN ledger.stats.solo_writes_sync IS 'prepares that were written so, beside nothing else';
COMMENT ON COLUMN ledger.stats.solo_write_us_io_uring IS
    'microseconds that such a prepare and its header take, median of the newest 31; NULL: not tried';
COMMENT ON COLUMN ledger.stats.solo_write_us_sync IS
    'microseconds that such a prepare and its header take, median of the newest 31; NULL: not tried';

CREATE FUNCTION ledger.get_stats_events(
    OUT kind text,
    OUT status text,
    OUT count bigint
) RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL SAFE ROWS 20
AS 'MODULE_PATHNAME', 'ledger_stats_events';
COMMENT ON FUNCTION ledger.get_stats_events IS 'the rows of ledger.stats_events';

CREATE VIEW ledger.stats_events AS SELECT * FROM ledger.get_stats_events();
COMMENT ON VIEW ledger.stats_events IS 'how many events ended with which status since the engine opened its files';

CREATE FUNCTION ledger.get_storage(
    OUT grid_size bigint,
    OUT grid_used bigint,
    OUT grid_free bigint,
    OUT block_size bigint,
    OUT blocks_written bigint,
    OUT blocks_read bigint,
    OUT bytes_written bigint,
    OUT bytes_per_transfer double precision,
    OUT write_amplification double precision,
    OUT cache_blocks bigint,
    OUT cache_hits bigint,
    OUT cache_misses bigint,
    OUT cache_evictions bigint,
    OUT cache_hit_ratio double precision,
    OUT tables bigint,
    OUT tables_max bigint,
    OUT since timestamptz,
    OUT published_at timestamptz
)
LANGUAGE C VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'ledger_storage';
COMMENT ON FUNCTION ledger.get_storage IS 'the row of ledger.storage';

CREATE VIEW ledger.storage AS SELECT * FROM ledger.get_storage();
COMMENT ON VIEW ledger.storage IS
    'files and cache, in one row; counts are since the engine opened its files; NULLs if it never did';
COMMENT ON COLUMN ledger.storage.grid_size IS 'bytes of the grid, the file of accounts, transfers and indexes';
COMMENT ON COLUMN ledger.storage.grid_used IS 'bytes of it that hold something';
COMMENT ON COLUMN ledger.storage.grid_free IS 'bytes of it that are free; it never shrinks';
COMMENT ON COLUMN ledger.storage.block_size IS 'bytes of a block of the grid';
COMMENT ON COLUMN ledger.storage.bytes_written IS 'to the logs and the grid';
COMMENT ON COLUMN ledger.storage.bytes_per_transfer IS 'bytes_written for each transfer created; NULL if there was none';
COMMENT ON COLUMN ledger.storage.write_amplification IS 'the same, for each byte of a transfer, which has 128';
COMMENT ON COLUMN ledger.storage.cache_blocks IS 'blocks that the cache has room for';
COMMENT ON COLUMN ledger.storage.cache_hits IS 'blocks that were asked for and in the cache';
COMMENT ON COLUMN ledger.storage.cache_hit_ratio IS 'hits of all that were asked for; NULL if none was';
COMMENT ON COLUMN ledger.storage.tables IS 'sorted tables of the grid';
COMMENT ON COLUMN ledger.storage.tables_max IS 'about how many ledger.memory can list: then writes are refused';

CREATE FUNCTION ledger.verify(
    OUT kind text,
    OUT object text,
    OUT detail text
) RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1
AS 'MODULE_PATHNAME', 'ledger_verify';
COMMENT ON FUNCTION ledger.verify IS
    'reads everything again, and recomputes all balances: one row for each finding, none if all is well';

-- Whoever may monitor the server may monitor the ledger. They see no account and no transfer, but for
-- those whose balances are found to be wrong.
GRANT USAGE ON SCHEMA ledger TO pg_monitor;
GRANT SELECT ON ledger.status, ledger.cluster, ledger.stats, ledger.stats_events, ledger.storage TO pg_monitor;
GRANT EXECUTE ON FUNCTION ledger.get_status(), ledger.get_cluster(), ledger.get_stats(), ledger.get_stats_events(), ledger.get_storage(),
    ledger.verify()
    TO pg_monitor;

-------------------------------------------------------------------------------------------------------------
-- Privileges: this section stays last
-------------------------------------------------------------------------------------------------------------

-- Functions are for everybody by default; schemas and tables are not. Those that make ids and amounts stay so: they touch
-- no account, and whoever may use the schema writes literals with them.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ledger.id(numeric), ledger.id_numeric(uuid), ledger.uuidv7(), ledger.amount_max() TO PUBLIC;
