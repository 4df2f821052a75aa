-- They become those of a sweep.
INSERT INTO retro_indicators (sweep, kind, value, list, confidence, net, bits)
SELECT {sweep:String}, i.kind, i.value, i.list, i.confidence,
       multiIf(i.kind = 'address', toIPv6OrDefault(i.value), i.kind = 'network', toIPv6OrDefault(splitByChar('/', i.value)[1]), toIPv6('::')),
       multiIf(i.kind = 'address', 128, i.kind = 'network', toUInt8OrZero(splitByChar('/', i.value)[2]) + if(position(i.value, ':') = 0, 96, 0), 0)
FROM (SELECT kind, value, list, confidence FROM indicators FINAL WHERE expires = 0 OR expires > now()) AS i
LEFT ANTI JOIN (SELECT kind, value, list FROM retro_swept FINAL WHERE NOT gone) AS s ON s.kind = i.kind AND s.value = i.value AND s.list = i.list
