-- What a host did in an hour, in the order of the names in host_behaviour.go. Of
-- several probes sums are those of the primary observer, and distinct counts
-- those of the probe that saw most.
[
    toUInt64(sum(sent_bytes)),
    toUInt64(sum(received_bytes)),
    toUInt64(sumIf(flows, role = 'initiator')),
    toUInt64(sumIf(flows, role = 'responder')),
    toUInt64(sumIf(failed, role = 'initiator')),
    toUInt64(if(sumIf(flows, role = 'initiator') < 50, 0, 100 * sumIf(failed, role = 'initiator') / sumIf(flows, role = 'initiator'))),
    toUInt64(maxIf(finalizeAggregation(peers), role = 'initiator')),
    toUInt64(maxIf(finalizeAggregation(peers), role = 'responder')),
    toUInt64(maxIf(finalizeAggregation(ports), role = 'initiator')),
    toUInt64(sumIf(dns_queries, role = 'initiator')),
    toUInt64(sumIf(dns_failed, role = 'initiator'))
]
