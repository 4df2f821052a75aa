ALTER TABLE flows
UPDATE
    src_asn = joinGet({addresses:String}, 'asn', site, src_ip),
    dst_asn = joinGet({addresses:String}, 'asn', site, dst_ip),
    src_country = joinGet({addresses:String}, 'country', site, src_ip),
    dst_country = joinGet({addresses:String}, 'country', site, dst_ip),
    src_city = joinGet({addresses:String}, 'city', site, src_ip),
    dst_city = joinGet({addresses:String}, 'city', site, dst_ip),
    src_network = joinGet({addresses:String}, 'network', site, src_ip),
    dst_network = joinGet({addresses:String}, 'network', site, dst_ip),
    src_role = joinGet({addresses:String}, 'role', site, src_ip),
    dst_role = joinGet({addresses:String}, 'role', site, dst_ip),
    threats = arraySlice(arraySort(arrayDistinct(arrayConcat(
        joinGet({addresses:String}, 'lists', site, src_ip),
        joinGet({addresses:String}, 'lists', site, dst_ip),
        joinGet({hits:String}, 'lists', 'name', tls_sni),
        joinGet({hits:String}, 'lists', 'name', http_host),
        joinGet({hits:String}, 'lists', 'print', toString(ja3)),
        joinGet({hits:String}, 'lists', 'print', toString(ja4)),
        joinGet({hits:String}, 'lists', 'print', toString(hassh)),
        joinGet({hits:String}, 'lists', 'print', toString(hassh_server)),
        joinGet({hits:String}, 'lists', 'print', tls_cert_sha256),
        arrayFlatten(arrayMap(n -> joinGet({hits:String}, 'lists', 'dns', n), dns_names))))), 1, 8),
    enrichment = {version:UInt64}
IN PARTITION ID {partition:String}
WHERE enrichment != {version:UInt64}
SETTINGS mutations_sync = 0, allow_nondeterministic_mutations = 1
