package flood

import (
	"strings"

	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// shares are the bins of 10 s that a record covers, each with its share of it:
// the counters of a long flow are those of up to a minute.
const shares = `arrayMap(
            b -> (b, if(end > start, (least(toFloat64(end), toFloat64((b + 1) * 10)) - greatest(toFloat64(start), toFloat64(b * 10))) / (toFloat64(end) - toFloat64(start)), 1.0)),
            range(intDiv(toInt64(toUnixTimestamp(start)), 10), least(intDiv(toInt64(toUnixTimestamp(end)), 10), intDiv(toInt64(toUnixTimestamp(start)), 10) + 60) + 1))`

// sides are the two hosts of a record: host, peer, packets and IP octets to the
// host, their kind, and the port of the host. Kinds other than all are of one
// direction: what came back is nothing, or resets. ICMP counts echoes, answered or
// not. What syn_flood and amplification judge is of no kind.
const sides = `arrayFilter(x -> x.3 > 0 AND x.5 != '', arrayFlatten([
            [(dst_ip, src_ip, src_packets, src_bytes, 'all', dst_port), (src_ip, dst_ip, dst_packets, dst_bytes, 'all', src_port)],
            [(dst_ip, src_ip, src_packets, src_bytes,
                multiIf(protocol IN (1, 58), if(segment = 0 AND src_port IN (8, 128) OR dst_packets = 0, 'icmp', ''),
                    protocol = 17, if(dst_packets = 0 AND src_port NOT IN {ports:Array(UInt16)} AND (src_port != 0 OR dst_port != 0), 'udp', ''),
                    protocol = 6, if(src_payload_bytes > 200 * src_packets OR dst_packets > 0 AND bitAnd(dst_tcp_flags, 4) = 0, '',
                        multiIf(bitAnd(src_tcp_flags, 18) = 2, '', bitAnd(src_tcp_flags, 22) = 18, 'syn_ack', bitAnd(src_tcp_flags, 2) = 2, '', bitAnd(src_tcp_flags, 4) = 4, 'rst',
                            bitAnd(src_tcp_flags, 16) = 16, 'ack', 'flags')),
                    dst_packets = 0 AND protocol NOT IN (47, 50, 51), 'ip', ''), dst_port)],
            [(src_ip, dst_ip, dst_packets, dst_bytes,
                multiIf(src_packets > 0, '',
                    protocol IN (1, 58), 'icmp',
                    protocol = 17, if(dst_port NOT IN {ports:Array(UInt16)} AND (src_port != 0 OR dst_port != 0), 'udp', ''),
                    protocol = 6, if(dst_payload_bytes > 200 * dst_packets, '',
                        multiIf(bitAnd(dst_tcp_flags, 18) = 2, '', bitAnd(dst_tcp_flags, 22) = 18, 'syn_ack', bitAnd(dst_tcp_flags, 4) = 4, 'rst', bitAnd(dst_tcp_flags, 16) = 16, 'ack', 'flags')),
                    protocol NOT IN (47, 50, 51), 'ip', ''), src_port)]]))`

// compose is detect.Compose with the expressions that the detectors here share.
func compose(file string) string {
	return detect.Compose(strings.NewReplacer(
		// Windows are judged by their last 10 s, those of whole minutes by all: with
		// little traffic only they are sure to be looked at.
		"/*judged_bin*/", `(bin * 10 >= {to:UInt32} - 10 OR {from:UInt32} % 60 = 0)`,
		// A handshake that the initiator never finished: it did not acknowledge, or
		// reset what it had begun without an answer.
		"/*half*/", `(bitAnd(src_tcp_flags, 16) = 0 OR bitAnd(src_tcp_flags, 4) = 4 AND dst_packets = 0 AND src_payload_bytes = 0)`,
		// An answered request to a web server, by somebody who does not stand for many.
		"/*web*/", `(protocol = 6 AND dst_payload_bytes > 0 AND app IN ('http', 'http2', 'tls') AND src_role NOT IN ('nat', 'proxy', 'monitor', 'scanner', 'gateway'))`,
		"/*dhcp_network*/", `multiIf(dst_ip = toIPv6('::ffff:255.255.255.255'), 'broadcast', dst_ip >= toIPv6('ff00::'), 'multicast',
            startsWith(toString(dst_ip), '::ffff:'), concat(replaceRegexpOne(toString(dst_ip), '^::ffff:([0-9]+[.][0-9]+[.][0-9]+)[.].*$', '\\1'), '.0/24'),
            concat(toString(tupleElement(IPv6CIDRToRange(dst_ip, 64), 1)), '/64'))`,
		"/*sides*/", sides,
		"/*all_shares*/", shares,
		"/*shares*/", "arrayFilter(x -> x.1 * 10 >= {from:UInt32} AND x.1 * 10 < {to:UInt32}, "+shares+")",
	).Replace(file))
}
