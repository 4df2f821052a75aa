-- Rows whose flow another probe of the site saw more of, at the same time: the
-- rows of one Community ID that overlap, or miss each other by less than a second
-- (clocks of probes differ, and many flows are one packet), are one flow. Its
-- primary observer is the probe with most packets of it, then that with the
-- lowest name. Rows that stand for many flows are left alone.
INSERT INTO rollup_secondary (build, id)
WITH
    shared AS
    (
        SELECT toStartOfHour(start) AS bucket, site, community_hash
        FROM flows
        WHERE /*rows*/ AND aggregated_flows = 0
        GROUP BY bucket, site, community_hash
        HAVING min(toString(probe)) != max(toString(probe))
    ),
    sightings AS
    (
        SELECT *, sum(apart) OVER (PARTITION BY bucket, site, community_hash ORDER BY start, probe, id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS number
        FROM
        (
            SELECT *, ifNull(start > max(toNullable(end)) OVER (PARTITION BY bucket, site, community_hash ORDER BY start, probe, id
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) + INTERVAL 1 SECOND, 0) AS apart
            FROM
            (
                SELECT toStartOfHour(start) AS bucket, site, community_hash, toString(probe) AS probe, start, end, src_packets + dst_packets AS packets,
                       cityHash64(probe, epoch, worker, seq, row) AS id
                FROM flows
                WHERE /*rows*/ AND aggregated_flows = 0 AND (toStartOfHour(start), site, community_hash) IN (SELECT bucket, site, community_hash FROM shared)
            )
        )
    )
SELECT @build, arrayJoin(arrayFlatten(arrayMap(o -> o.3, arrayFilter((o, i) -> i > 1, observers, arrayEnumerate(observers))))) AS id
FROM
(
    SELECT bucket, site, community_hash, number, arraySort(groupArray((-toInt64(seen), probe, ids))) AS observers
    FROM
    (
        SELECT bucket, site, community_hash, number, probe, sum(packets) AS seen, groupArray(id) AS ids
        FROM sightings
        GROUP BY bucket, site, community_hash, number, probe
    )
    GROUP BY bucket, site, community_hash, number
    HAVING length(observers) > 1
)
