-- Flows of a window that stand for what a user did there: those that name the
-- user, then the largest of the user's hosts.
SELECT arrayMap(x -> x.3, groupArraySorted(5)((NOT named, -toInt64(src_bytes + dst_bytes), id))) AS ids
FROM
(
    SELECT lower(splitByChar('@', splitByChar('\\', toString(flows.user))[-1])[1]) = {user:String} AS named, src_bytes, dst_bytes, /*flow_id*/ AS id
    FROM flows
    WHERE start >= toDateTime({from:UInt32}, 'UTC') AND start < toDateTime({to:UInt32}, 'UTC') AND site = {site:String}
      AND (named OR src_ip IN {hosts:Array(IPv6)} OR dst_ip IN {hosts:Array(IPv6)})
)
