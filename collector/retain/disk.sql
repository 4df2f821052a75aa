-- Room on the disks of this machine that flows are on.
SELECT toInt64(sum(free_space)), toInt64(sum(total_space))
FROM system.disks
WHERE NOT is_remote AND name IN
(
    SELECT arrayJoin(disks)
    FROM system.storage_policies
    WHERE policy_name = (SELECT storage_policy FROM system.tables WHERE database = currentDatabase() AND name = 'flows')
)
