-- What a host did in an hour that a user is judged by, in the order of the names
-- in user_behaviour.go. Of several probes sums are those of the primary observer,
-- and distinct counts those of the probe that saw most.
[
    toUInt64(sum(sent_bytes)),
    toUInt64(sumIf(flows, role = 'initiator')),
    toUInt64(maxIf(finalizeAggregation(peers), role = 'initiator')),
    toUInt64(sumIf(failed, role = 'initiator'))
]
