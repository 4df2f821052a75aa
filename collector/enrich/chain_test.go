package enrich_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/tapwatch/tapwatch/collector"
	"github.com/tapwatch/tapwatch/collector/enrich"
	"github.com/tapwatch/tapwatch/proto/local/localtest"
)

// captures are real ones that are not in the repository.
const captures = "../../../shared/captures"

// chain is a probe, Kafka, a collector and ClickHouse.
type chain struct {
	testing.TB
	cfg   collector.Config
	conn  driver.Conn
	probe string
	runs  int
	stop  func()
}

func newChain(t testing.TB, cfg enrich.Config) *chain {
	t.Helper()
	if _, err := os.Stat(captures); err != nil {
		t.Skipf("no captures at %s: %v", captures, err)
	}
	ch, broker := localtest.TestClickHouse(t), localtest.TestKafka(t)
	name := fmt.Sprintf("%s_%d", strings.ToLower(t.Name()), time.Now().UnixNano())
	c := &chain{TB: t, cfg: collector.DefaultConfig(), probe: filepath.Join(t.TempDir(), "probe")}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", c.probe, "./cmd/probe")
	build.Dir = "../../probe"
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("build the probe: %v: %s", err, out)
	}
	c.cfg.Kafka.Brokers, c.cfg.Topic, c.cfg.DeadLetterTopic, c.cfg.Group = []string{broker.Addr()}, name, name+".dead", name
	c.cfg.Create = collector.Create{Partitions: 1, Replication: 1}
	c.cfg.ClickHouse.Addr, c.cfg.ClickHouse.Database = []string{ch.Addr()}, name
	c.cfg.Block.MaxWait = 200 * time.Millisecond
	c.cfg.Rollup.Interval = 0
	// The captures are years old, and a day may be looked at for its age before it is known when its rows came.
	c.cfg.Retention.Flows, c.cfg.Retention.Ledger = 10000, 10000
	cfg.MaxIndicators = enrich.DefaultConfig().MaxIndicators
	c.cfg.Enrich = cfg
	c.cfg.Enrich.Reload, c.cfg.Enrich.Interval, c.cfg.Enrich.MaxTime = 100*time.Millisecond, 100*time.Millisecond, 30*time.Second
	c.cfg.Ops.Listen, c.cfg.Ops.LogLevel = "", "error"
	if testing.Verbose() {
		c.cfg.Ops.LogLevel = "info"
	}
	if err := collector.Migrate(t.Context(), c.cfg); err != nil {
		t.Fatal(err)
	}
	var err error
	if c.conn, err = c.cfg.ClickHouse.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.conn.Close() })
	c.start()
	return c
}

func (c *chain) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- collector.Run(ctx, c.cfg) }()
	stopped := false
	c.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			c.Errorf("collector ended with %v", err)
		}
	}
	c.Cleanup(c.stop)
}

// feed lets a probe read captures into Kafka.
func (c *chain) feed(site string, files ...string) {
	c.Helper()
	for i := range files {
		files[i] = filepath.Join(captures, files[i])
	}
	c.runs++
	cmd := exec.CommandContext(c.Context(), c.probe, "--name", fmt.Sprintf("probe%d", c.runs), "--site", site, "--capture.files", strings.Join(files, ","),
		"--kafka.brokers", c.cfg.Kafka.Brokers[0], "--topic", c.cfg.Topic, "--spool.dir", c.TempDir(), "--ops.listen", "", "--ops.log_level", "error")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		c.Fatalf("probe: %v: %s", err, out.String())
	}
}

// text is the one text that a query gives.
func (c *chain) text(sql string) string {
	c.Helper()
	var got string
	if err := c.conn.QueryRow(c.Context(), sql).Scan(&got); err != nil {
		c.Fatalf("%s: %v", sql, err)
	}
	return got
}

// until waits for a query to give want.
func (c *chain) until(sql, want string) {
	c.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		got := c.text(sql)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			c.Fatalf("%s (-got +want)\n-%s\n+%s", sql, got, want)
		}
		<-time.After(50 * time.Millisecond)
	}
}

func (c *chain) want(sql, want string) {
	c.Helper()
	if got := c.text(sql); got != want {
		c.Errorf("%s (-got +want)\n-%s\n+%s", sql, got, want)
	}
}

func asnDatabase(t testing.TB, number uint32, prefixes ...string) []byte {
	t.Helper()
	w, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "Test-ASN", IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range prefixes {
		_, ipnet, err := net.ParseCIDR(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Insert(ipnet, mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(number), "autonomous_system_organization": mmdbtype.String("Example Net")}); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := w.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// From a capture to enriched rows, assets and users, through all that is real;
// then other data, while it runs; then the old rows again.
func TestChain(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, at("asn.mmdb"), asnDatabase(t, 64500, "208.80.152.0/24"))
	write(t, at("own.csv"), []byte("network,name,role,site\n141.142.220.0/24,campus,clients,\n10.0.0.0/8,lab,test,\n"))
	write(t, at("bad.txt"), []byte("208.80.152.3\n"))
	write(t, at("oui.csv"), []byte("Registry,Assignment,Organization Name,Organization Address\nMA-L,001422,Dell Inc.,\"One Dell Way, US\"\n"))
	c := newChain(t, enrich.Config{Databases: []string{at("asn.mmdb")}, Networks: []string{at("own.csv")}, OUI: []string{at("oui.csv")},
		Threats: []enrich.ThreatList{{Name: "first", Location: at("bad.txt")}}})
	c.feed("hq", "zeek/wikipedia.pcap", "zeek/radius/radius.pcap", "zeek/smb/smb2.pcap", "zeek/krb/kinit.pcap", "zeek/tunnels/Teredo.pcap",
		"suricata-verify/krb5-kerberoasting/kerberoast.pcap", "suricata-verify/smb2-07/20171220_smb_psexec_add_user.pcap",
		"corelight/CVE-2020-1472_exploit_win2019.pcap")
	c.until("SELECT toString(sum(end_of_stream)) FROM batches", "1")

	// The flows of wikipedia.pcap to 208.80.152.3, HTTP from 141.142.220.118.
	const wiki = " FROM flows WHERE dst_ip = toIPv6('208.80.152.3')"
	c.want("SELECT toString((any(dst_asn), any(src_network), any(src_role), any(threats), uniq(enrichment), min(enrichment) > 0, uniq(threats)))"+wiki,
		"(64500,'campus','clients',['first'],1,1,1)")
	c.want("SELECT toString(countIf(threats != [] AND dst_ip != toIPv6('208.80.152.3') AND src_ip != toIPv6('208.80.152.3'))) FROM flows", "0")
	c.until("SELECT toString(groupArray((prefix, name))) FROM (SELECT * FROM networks FINAL ORDER BY prefix)", "[('10.0.0.0/8','lab'),('141.142.220.0/24','campus')]")
	c.want("SELECT dictGet('networks_trie', 'name', toIPv6('10.9.9.9'))", "lab")
	c.until("SELECT toString((asn, name)) FROM asns FINAL", "(64500,'Example Net')")
	c.until("SELECT dictGet('oui', 'vendor', bitShiftRight(toUInt64(0x001422E9545E), 24))", "Dell Inc.")
	c.until("SELECT toString((kind, value, list)) FROM indicators FINAL", "('address','208.80.152.3','first')")

	const looked = "SELECT toString((SELECT max(until) FROM enrich_state WHERE name = 'hosts and users') >= (SELECT max(stored) FROM batches))"
	c.until(looked, "1")

	// Who was where. The refused logins of CVE-2020-1472 and kinit are nobody.
	c.until("SELECT toString(arraySort(groupUniqArray((replaceOne(toString(ip), '::ffff:', ''), user, domain, source)))) FROM users_seen",
		"[('10.0.0.11','Administrator','CONTOSO','ntlm'),('10.0.0.2','spotless','OFFENSE.LOCAL','kerberos'),"+
			"('192.168.1.31','expired_password_client_principal','VLADG.NET','kerberos'),('192.168.1.31','requires_preauth_client_principal','VLADG.NET','kerberos'),"+
			"('192.168.1.31','test_pkinit','VLADG.NET','kerberos'),('192.168.1.31','valid_client_principal','VLADG.NET','kerberos'),"+
			"('::','John.McGuirk','','radius')]")
	c.want("SELECT toString((user, sources)) FROM users WHERE ip = toIPv6('10.0.0.11')", "('Administrator',['ntlm'])")
	c.want("SELECT lower(hex(mac)) FROM users_seen WHERE source = 'radius'", "1422e9545e")

	// What they are called.
	c.until("SELECT toString(arraySort(groupUniqArray((name, source)))) FROM assets_seen WHERE site = 'hq' AND name != '' AND source IN ('netbios', 'ntlm')",
		"[('DC1','netbios'),('ESURNIR-LAPTOP','netbios'),('SERVER01','ntlm')]")
	c.want("SELECT toString((name, has(sources, 'dhcp'))) FROM assets_now WHERE ip = toIPv6('192.168.2.18')", "('Wii',1)")
	c.want("SELECT toString(arraySort(groupUniqArray(replaceOne(toString(ip), '::ffff:', '')))) FROM assets_seen WHERE name = 'gemini.local'",
		"['141.142.220.50','fe80::217:f2ff:fed7:cf65']")
	c.want("SELECT toString(countIf(mac = 0x1aa0baf35d)) FROM (SELECT DISTINCT ip, mac FROM assets_seen WHERE source = 'arp')", "1")
	c.want("SELECT name FROM asset_at(ip = '192.168.10.10', time = '2017-10-09 18:00:00') WHERE source = 'netbios'", "DC1")

	// Another look at the same flows changes nothing.
	before := c.text("SELECT toString(groupBitXor(cityHash64(*))) FROM (SELECT site, ip, hour, source, name, mac, min(first), max(last) FROM assets_seen GROUP BY ALL)")
	if err := c.conn.Exec(t.Context(), "TRUNCATE TABLE enrich_state"); err != nil {
		t.Fatal(err)
	}
	c.stop()
	c.start()
	c.until(looked, "1")
	c.want("SELECT toString(groupBitXor(cityHash64(*))) FROM (SELECT site, ip, hour, source, name, mac, min(first), max(last) FROM assets_seen GROUP BY ALL)", before)

	// Other data, while it runs; and a file that breaks.
	write(t, at("asn.mmdb"), []byte("broken"))
	write(t, at("own.csv"), []byte("network,name,role,site\n141.142.220.0/24,campus,guests,\n"))
	write(t, at("bad.txt"), []byte("wikimedia.org\n"))
	c.until("SELECT toString(groupArray((prefix, role))) FROM networks FINAL", "[('141.142.220.0/24','guests')]")
	c.until("SELECT toString(groupArray(value)) FROM indicators FINAL", "['wikimedia.org']")
	c.feed("hq", "zeek/wikipedia.pcap")
	c.until("SELECT toString(sum(end_of_stream)) FROM batches", "2")
	c.want("SELECT toString(groupUniqArray((probe, dst_asn, src_role, threats)))"+wiki+" AND probe = 'probe2'", "[('probe2',64500,'guests',['first'])]")
	c.want("SELECT toString(arraySort(groupUniqArray((app, threats)))) FROM flows WHERE probe = 'probe2' AND threats != []", "[('dns',['first']),('http',['first'])]")
	c.want("SELECT toString(countIf(threats != [])) FROM flows WHERE has(dns_names, 'upload.wikimedia.org.ncsa.uiuc.edu')", "0")

	// The collector of another start has not got what was lost with the broken file.
	write(t, at("asn.mmdb"), asnDatabase(t, 64501, "208.80.152.0/24"))
	c.again(t)
}

// again enriches stored rows with other data, and compares all other columns.
func (c *chain) again(t *testing.T) {
	t.Helper()
	const others = "SELECT toString((count(), sum(cityHash64(* EXCEPT(enrichment, src_asn, dst_asn, src_country, dst_country, src_city, dst_city, src_network, dst_network, src_role, dst_role, threats))))) FROM flows"
	before := c.text(others)
	stale := map[string]uint64{}
	if err := collector.EnrichAgain(t.Context(), c.cfg, time.Time{}, time.Time{}, true, func(d enrich.Day) { stale[d.Date.Format(time.DateOnly)] = d.Rows }); err != nil {
		t.Fatal(err)
	}
	if len(stale) < 3 {
		t.Errorf("days to do: %v", stale)
	}
	var done []enrich.Day
	if err := collector.EnrichAgain(t.Context(), c.cfg, time.Time{}, time.Time{}, false, func(d enrich.Day) { done = append(done, d) }); err != nil {
		t.Fatal(err)
	}
	if len(done) != len(stale) {
		t.Errorf("%d days done of %d", len(done), len(stale))
	}
	c.want(others, before)
	c.want("SELECT toString(uniq(enrichment)) FROM flows", "1")
	c.want("SELECT toString(arraySort(groupUniqArray((probe, dst_asn, src_network, src_role)))) FROM flows WHERE dst_ip = toIPv6('208.80.152.3')",
		"[('probe1',64501,'campus','guests'),('probe2',64501,'campus','guests')]")
	c.want("SELECT toString(arraySort(groupUniqArray(probe))) FROM flows WHERE has(threats, 'first')", "['probe1','probe2']")
	c.want("SELECT toString(countIf(src_network = 'lab' OR dst_network = 'lab')) FROM flows", "0")
	var sound uint8
	if err := c.conn.QueryRow(t.Context(), "CHECK TABLE flows SETTINGS check_query_single_value_result = 1").Scan(&sound); err != nil || sound != 1 {
		t.Errorf("check of the table: %d, %v", sound, err)
	}
	// Once more: there is nothing to do.
	if err := collector.EnrichAgain(t.Context(), c.cfg, time.Time{}, time.Time{}, false, func(d enrich.Day) { t.Errorf("%v again", d) }); err != nil {
		t.Fatal(err)
	}
}
