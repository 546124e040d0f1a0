-- SPDX-License-Identifier: PostgreSQL
-- Verification: nothing is wrong, whatever the other tests have done; and who may ask.
SELECT * FROM ledger.verify();

SELECT array_agg(status ORDER BY index) FROM ledger.create_accounts(ARRAY[
    ROW(ledger.id(960001), NULL, NULL, NULL, 96, 1, NULL, NULL)::ledger.account_input,
    ROW(ledger.id(960002), NULL, NULL, NULL, 96, 1, NULL, NULL)::ledger.account_input
]);
SELECT ledger.create_transfer(ledger.id(960011), ledger.id(960001), ledger.id(960002), 100, 96, 1,
    flags => '{pending}');
SELECT ledger.post_pending_transfer(ledger.id(960012), pending_id => ledger.id(960011), amount => 60);
SELECT ledger.create_transfer(ledger.id(960013), ledger.id(960002), ledger.id(960001), 7, 96, 1);
SELECT count(*) FROM ledger.verify();

-- What it gives.
SELECT pg_get_function_result('ledger.verify'::regproc);
SHOW ledger.scrub_interval;
SELECT scrub_progress BETWEEN 0 AND 1 AS progress, scrub_tours >= 0 AS tours, damaged_blocks FROM ledger.status;

-- Not for everybody.
CREATE ROLE verify_nobody;
GRANT USAGE ON SCHEMA ledger TO verify_nobody;
SET ROLE verify_nobody;
SELECT count(*) FROM ledger.verify();
RESET ROLE;
GRANT pg_monitor TO verify_nobody;
SET ROLE verify_nobody;
SELECT count(*) FROM ledger.verify();
RESET ROLE;
REVOKE USAGE ON SCHEMA ledger FROM verify_nobody;
DROP ROLE verify_nobody;
