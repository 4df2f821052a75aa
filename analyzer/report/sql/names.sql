SELECT asn, name FROM asns FINAL WHERE asn IN {asns:Array(UInt32)}
