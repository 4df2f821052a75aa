-- the longest connections of a day
-- day: SELECT toString(max(toDate(start))) FROM flows
SELECT start, end, src_ip, dst_ip, dst_port, app FROM flows WHERE toDate(start) = {day:Date} ORDER BY end - start DESC LIMIT 100
