-- The largest flows of a link or an application in a range.
SELECT arrayMap(x -> x.2, groupArraySorted(5)((-toInt64(src_bytes + dst_bytes), /*flow_id*/))) AS ids
FROM flows
WHERE start >= toDateTime({from:UInt32}, 'UTC') AND start < toDateTime({to:UInt32}, 'UTC') AND site = {site:String}
  AND ({link:String} = '' OR probe = {link:String}) AND ({app:String} = '' OR app = {app:String})
