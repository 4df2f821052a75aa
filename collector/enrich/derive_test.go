package enrich

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// texts are the rows of a query of one text.
func texts(t *testing.T, conn driver.Conn, sql string) string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return strings.Join(all, "\n")
}

// stored puts rows into flows, with the batch that promises them: columns, and
// the values of each.
func stored(t *testing.T, conn driver.Conn, offset int, columns string, rows ...string) {
	t.Helper()
	for i := range rows {
		rows[i] = fmt.Sprintf("('p', 1, %d, %d, '2026-11-04 10:00:%02d', %s)", offset, i, offset, rows[i])
	}
	localtest.Exec(t, conn, "INSERT INTO flows (probe, epoch, seq, row, received, "+columns+") SETTINGS async_insert = 0 VALUES "+strings.Join(rows, ", "))
	localtest.Exec(t, conn, fmt.Sprintf(`INSERT INTO batches (probe, epoch, seq, kafka_offset, received, stored, status, days)
		SELECT 'p', 1, %d, %d, max(received), now64(3), 'stored', groupUniqArray(toDate(start)) FROM flows WHERE seq = %d SETTINGS async_insert = 0`, offset, offset, offset))
}

func derived(t *testing.T, conn driver.Conn) *keeper {
	t.Helper()
	k := newKeeper(enricher(t, Config{}), conn)
	if err := k.derive(t.Context()); err != nil {
		t.Fatal(err)
	}
	return k
}

func testHosts(t *testing.T, conn driver.Conn) {
	const columns = "start, end, src_ip, dst_ip, src_port, dst_port, protocol, src_mac, app, app_host, user, domain, app_requests, app_responses, app_errors, dns_names, dns_qtypes, dns_rcodes, dns_answers, tls_sni, dst_packets, ethertype"
	const at = "'2026-11-01 10:00:00', '2026-11-01 10:00:05', "
	stored(t, conn, 1, columns,
		at+"'0.0.0.0', '255.255.255.255', 68, 67, 17, 0x1422e9545e, 'dhcp', 'Wii', '', '', ['DISCOVER', 'REQUEST 192.168.2.17', 'REQUEST 192.168.2.18'], [], 0, [], [], [], [], '', 0, 0",
		at+"'0.0.0.0', '255.255.255.255', 68, 67, 17, 0x1422e9545e, 'dhcp', 'Refused', '', '', ['REQUEST 192.168.2.19'], ['NAK'], 1, [], [], [], [], '', 0, 0",
		at+"'192.168.2.1', '192.168.2.254', 67, 67, 17, 0x1422e90001, 'dhcp', 'Relayed', '', '', ['DISCOVER', 'REQUEST 192.168.2.20'], ['NAK', 'ACK 192.168.2.21'], 0, [], [], [], [], '', 1, 0",
		at+"'fe80::1', 'ff02::1:2', 546, 547, 17, 7, 'dhcpv6', 'Six-PC', '', '', ['SOLICIT'], [], 0, [], [], [], [], '', 0, 0",
		at+"'10.0.0.3', '224.0.0.251', 5353, 5353, 17, 8, 'mdns', '', '', '', [], [], 0, ['printer.local', 'other.local', '_ipp._tcp.local'], [1, 1, 12], [0, 65535, 0], ['10.0.0.3', 'x._ipp._tcp.local'], '', 0, 0",
		at+"'10.0.0.4', '224.0.0.251', 5353, 5353, 17, 8, 'mdns', '', '', '', [], [], 0, ['foreign.local'], [1], [0], ['10.0.0.9'], '', 0, 0",
		at+"'10.0.0.5', '10.0.0.255', 137, 137, 17, 8, 'nbns', '', '', '', [], [], 0, ['FILES<20>', 'WORKGROUP<1d>'], [32, 32], [0, 65535], ['10.0.0.77'], '', 0, 0",
		at+"'10.0.0.5', '224.0.0.252', 50000, 5355, 17, 8, 'llmnr', '', '', '', [], [], 0, ['LAB7', 'LAB7'], [1, 28], [0, 65535], ['10.0.0.78'], '', 1, 0",
		at+"'10.0.0.6', '10.0.0.255', 138, 138, 17, 8, 'nbdgm', 'DESK6', '', '', [], [], 0, [], [], [], [], '', 0, 0",
		at+"'10.0.0.6', '10.0.0.255', 138, 138, 17, 8, 'nbdgm', '\\001\\002__MSBROWSE__\\002', '', '', [], [], 0, [], [], [], [], '', 0, 0",
		at+"'10.0.0.7', '10.0.0.1', 50000, 88, 6, 8, 'kerberos', '', 'PC7$', 'X', ['AS-REQ krbtgt/X'], ['AS-REP krbtgt/X aes'], 0, [], [], [], [], '', 1, 0",
		at+"'10.0.0.8', '10.0.0.1', 50000, 88, 6, 8, 'kerberos', '', 'FAKE$', 'X', ['AS-REQ krbtgt/X'], ['KDC_ERR_C_PRINCIPAL_UNKNOWN'], 1, [], [], [], [], '', 1, 0",
		at+"'10.0.0.9', '10.0.0.1', 50000, 443, 6, 8, 'tls', '', '', '', [], [], 0, [], [], [], [], 'intra.example', 3, 0",
		at+"'10.0.0.9', '198.51.100.1', 50000, 443, 6, 8, 'tls', '', '', '', [], [], 0, [], [], [], [], 'www.example', 3, 0",
		at+"'10.0.0.9', '10.0.0.2', 50000, 443, 6, 8, 'tls', '', '', '', [], [], 0, [], [], [], [], 'unanswered.example', 0, 0",
		at+"'10.0.0.9', '10.0.0.2', 50000, 443, 6, 8, 'tls', '', '', '', [], [], 0, [], [], [], [], '10.0.0.2', 3, 0",
		at+"'10.0.0.11', '10.0.0.1', 1, 0, 0, 9, '', '', '', '', [], [], 0, [], [], [], [], '', 0, 2054",
		// Lists that do not belong together must not stop anything.
		at+"'10.0.0.12', '224.0.0.251', 5353, 5353, 17, 8, 'mdns', '', '', '', [], [], 0, ['a.local', 'b.local'], [1], [], ['10.0.0.12'], '', 0, 0",
	)
	k := derived(t, conn)
	const want = `10.0.0.1 tls intra.example 0
10.0.0.11 arp  9
10.0.0.12 mdns a.local 0
10.0.0.3 mdns printer.local 0
10.0.0.6 netbios DESK6 0
10.0.0.7 kerberos PC7 0
10.0.0.77 netbios FILES 0
10.0.0.78 llmnr LAB7 0
192.168.2.18 dhcp Wii 1422E9545E
192.168.2.21 dhcp Relayed 0
fe80::1 dhcp Six-PC 7`
	const all = `SELECT concat(replaceOne(toString(ip), '::ffff:', ''), ' ', source, ' ', name, ' ', if(mac = 0, '0', if(mac < 16, toString(mac), replaceRegexpOne(hex(mac), '^0+', ''))))
		FROM assets_seen GROUP BY ip, source, name, mac ORDER BY 1`
	if got := texts(t, conn, all); got != want {
		t.Errorf("(-got +want)\n-%s\n+%s", strings.ReplaceAll(got, "\n", "\n-"), strings.ReplaceAll(want, "\n", "\n+"))
	}
	// What comes later is looked at, what was seen is not looked at again.
	stored(t, conn, 2, columns, "'2026-11-01 10:30:00', '2026-11-01 10:30:05', '10.0.0.6', '10.0.0.255', 138, 138, 17, 8, 'nbdgm', 'DESK6', '', '', [], [], 0, [], [], [], [], '', 0, 0")
	if err := k.derive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := texts(t, conn, "SELECT concat(toString(first), ' ', toString(last)) FROM (SELECT min(first) AS first, max(last) AS last FROM assets_seen WHERE name = 'DESK6')"); got != "2026-11-01 10:00:00.000 2026-11-01 10:30:05.000" {
		t.Errorf("DESK6 was seen %s", got)
	}
}

func testUsers(t *testing.T, conn driver.Conn) {
	const columns = "start, end, src_ip, dst_ip, app, app_host, user, domain, app_requests, app_responses, src_mac, src_port"
	const at = "'2026-11-01 10:00:00', '2026-11-01 10:00:05', "
	stored(t, conn, 1, columns,
		at+"'10.0.0.1', '10.0.0.9', 'kerberos', '', 'anna', 'X', ['AS-REQ krbtgt/X'], ['KDC_ERR_PREAUTH_REQUIRED', 'AS-REP krbtgt/X aes'], 0, 0",
		at+"'10.0.0.2', '10.0.0.9', 'kerberos', '', 'nobody', 'X', ['AS-REQ krbtgt/X'], ['KDC_ERR_PREAUTH_FAILED'], 0, 0",
		at+"'10.0.0.3', '10.0.0.9', 'smb', 'PC3', 'bert', 'X', ['SESSION_SETUP', 'SESSION_SETUP', 'TREE_CONNECT'], ['STATUS_MORE_PROCESSING_REQUIRED', 'STATUS_SUCCESS', 'STATUS_SUCCESS'], 0, 0",
		at+"'10.0.0.4', '10.0.0.9', 'smb', 'PC4', 'bert', 'X', ['SESSION_SETUP', 'SESSION_SETUP', 'TREE_CONNECT'], ['STATUS_MORE_PROCESSING_REQUIRED', 'STATUS_LOGON_FAILURE', 'STATUS_SUCCESS'], 0, 0",
		at+"'10.0.0.5', '10.0.0.9', 'smb', 'PC5', 'cut', 'X', ['SESSION_SETUP', 'SESSION_SETUP'], ['STATUS_MORE_PROCESSING_REQUIRED'], 0, 0",
		at+"'10.0.0.6', '10.0.0.9', 'ldap', 'PC6', 'dora', 'X', ['BIND GSS-SPNEGO', 'BIND GSS-SPNEGO'], ['saslBindInProgress', 'success'], 0, 0",
		at+"'10.0.0.7', '10.0.0.9', 'ldap', '', 'cn=simple', '', ['BIND SIMPLE'], ['success'], 0, 0",
		at+"'10.0.0.250', '10.0.0.9', 'radius', '00-14-22-E9-54-5E', 'emil', '', ['Access-Request'], ['Access-Accept 10.0.0.8'], 0, 0",
		at+"'10.0.0.250', '10.0.0.9', 'radius', '0014.22e9.5460', 'fritz', '', ['Access-Request'], ['Access-Accept 255.255.255.254'], 0, 0",
		at+"'10.0.0.250', '10.0.0.9', 'radius', '0014.22e9.5461', 'refused', '', ['Access-Request'], ['Access-Reject'], 0, 0",
		at+"'10.0.0.250', '10.0.0.9', 'radius', '0014.22e9.5462', 'mixed', '', ['Access-Request', 'Access-Request'], ['Access-Accept 10.0.0.20', 'Access-Accept 10.0.0.21'], 0, 0",
		at+"'10.0.0.250', '10.0.0.9', 'radius', '', 'gina', '', ['Accounting-Request 10.0.0.30'], ['Accounting-Response'], 0, 0",
		// The card of fritz gets its address a while later.
		"'2026-11-01 10:00:10', '2026-11-01 10:00:11', '0.0.0.0', '255.255.255.255', 'dhcp', 'phone', '', '', ['REQUEST 10.0.0.40'], [], 0x1422e95460, 68",
		// Somebody else comes to where anna was, and anna comes back.
		"'2026-11-01 11:00:00', '2026-11-01 11:00:01', '10.0.0.1', '10.0.0.9', 'kerberos', '', 'hans', 'X', [], ['TGS-REP cifs/f rc4'], 0, 0",
		"'2026-11-01 12:00:00', '2026-11-01 12:00:01', '10.0.0.1', '10.0.0.9', 'kerberos', '', 'Anna', 'X', [], ['TGS-REP cifs/f rc4'], 0, 0",
		"'2026-11-01 13:00:00', '2026-11-01 13:00:01', '10.0.0.1', '10.0.0.9', 'kerberos', '', 'anna', 'X', [], ['TGS-REP cifs/f rc4'], 0, 0",
		"'2026-11-03 13:00:00', '2026-11-03 13:00:01', '10.0.0.1', '10.0.0.9', 'kerberos', '', 'anna', 'X', [], ['TGS-REP cifs/f rc4'], 0, 0",
	)
	derived(t, conn)
	const want = `10.0.0.1 anna 2026-11-01 10:00:00 2026-11-01 10:00:05
10.0.0.1 hans 2026-11-01 11:00:00 2026-11-01 11:00:01
10.0.0.1 anna 2026-11-01 12:00:00 2026-11-01 13:00:01
10.0.0.1 anna 2026-11-03 13:00:00 2026-11-03 13:00:01
10.0.0.3 bert 2026-11-01 10:00:00 2026-11-01 10:00:05
10.0.0.6 dora 2026-11-01 10:00:00 2026-11-01 10:00:05
10.0.0.8 emil 2026-11-01 10:00:00 2026-11-01 10:00:05
10.0.0.30 gina 2026-11-01 10:00:00 2026-11-01 10:00:05
10.0.0.40 fritz 2026-11-01 10:00:10 2026-11-01 10:00:11`
	if got := texts(t, conn, "SELECT concat(replaceOne(toString(ip), '::ffff:', ''), ' ', lower(user), ' ', toString(toDateTime(first)), ' ', toString(toDateTime(last))) FROM users ORDER BY ip, first"); got != want {
		t.Errorf("(-got +want)\n-%s\n+%s", strings.ReplaceAll(got, "\n", "\n-"), strings.ReplaceAll(want, "\n", "\n+"))
	}
	for at, who := range map[string]string{"2026-11-01 09:59:00": "", "2026-11-01 10:30:00": "anna", "2026-11-01 11:30:00": "hans", "2026-11-01 23:00:00": "anna", "2026-11-02 13:00:00": ""} {
		if got := texts(t, conn, "SELECT lower(user) FROM user_at(ip = '10.0.0.1', time = '"+at+"')"); got != who {
			t.Errorf("at %s: %q, want %q", at, got, who)
		}
	}
	if got := texts(t, conn, "SELECT name FROM assets WHERE ip = toIPv6('10.0.0.3') AND source = 'ntlm'"); got != "PC3" {
		t.Errorf("host of bert: %q", got)
	}
}

// The progress survives, and a look that is repeated from the start changes
// nothing.
func testDeriveGoesOn(t *testing.T, conn driver.Conn) {
	const columns = "start, end, src_ip, app, app_host"
	for i := range 5 {
		stored(t, conn, i, columns, fmt.Sprintf("'2026-11-0%d 10:00:00', '2026-11-0%d 10:00:05', '10.0.0.%d', 'nbdgm', 'PC%d'", i+1, i+1, i, i))
	}
	k := derived(t, conn)
	if k.until.Before(time.Now().Add(-time.Hour)) {
		t.Errorf("looked until %s", k.until)
	}
	const all = "SELECT toString((count(), groupBitXor(cityHash64(*)))) FROM (SELECT site, ip, hour, source, name, mac, min(first), max(last) FROM assets_seen GROUP BY ALL)"
	before := texts(t, conn, all)
	if !strings.HasPrefix(before, "(5,") {
		t.Errorf("hosts: %s", before)
	}
	localtest.Exec(t, conn, "TRUNCATE TABLE enrich_state")
	derived(t, conn)
	if got := texts(t, conn, all); got != before {
		t.Errorf("seen twice: %s, once: %s", got, before)
	}
	localtest.Exec(t, conn, "TRUNCATE TABLE assets_seen")
	derived(t, conn)
	if got := texts(t, conn, "SELECT toString(count()) FROM assets_seen"); got != "0" {
		t.Errorf("%s hosts of what had been looked at", got)
	}
}
