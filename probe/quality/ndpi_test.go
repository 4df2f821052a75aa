package quality

import (
	"bufio"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tapwatch/tapwatch/probe/corpus"
	"github.com/tapwatch/tapwatch/proto/flow"
)

// apps names what nDPI's protocols are here, as far as they are among those
// that the probe recognises. Several: nDPI does not tell them apart.
var apps = map[string][]string{
	"TLS": {"tls"}, "DTLS": {"dtls"}, "QUIC": {"quic"}, "HTTP": {"http"}, "HTTP2": {"http2"}, "HTTP_Proxy": {"http"}, "HTTP_Connect": {"http"},
	"WebSocket": {"websocket"}, "gRPC": {"grpc"},
	"DNS": {"dns"}, "DoH_DoT": {"tls", "http2", "quic"}, "MDNS": {"mdns"}, "LLMNR": {"llmnr"}, "NetBIOS": {"nbns", "nbdgm", "smb"},
	"DHCP": {"dhcp"}, "DHCPV6": {"dhcpv6"}, "NTP": {"ntp"}, "SNMP": {"snmp"}, "SSH": {"ssh"}, "SMBv1": {"smb", "nbdgm"}, "SMBv23": {"smb"},
	"Kerberos": {"kerberos"}, "LDAP": {"ldap", "cldap"}, "RDP": {"rdp"}, "VNC": {"vnc"},
	"FTP_CONTROL": {"ftp"}, "FTPS": {"ftp", "tls"}, "FTP_DATA": {"ftp_data"}, "TFTP": {"tftp"},
	"SMTP": {"smtp"}, "SMTPS": {"smtp", "tls"}, "POP3": {"pop3"}, "POPS": {"pop3", "tls"}, "IMAP": {"imap"}, "IMAPS": {"imap", "tls"}, "Telnet": {"telnet"},
	"SIP": {"sip"}, "RTP": {"rtp"}, "SRTP": {"rtp"}, "RTCP": {"rtcp"}, "STUN": {"stun"}, "Syslog": {"syslog"},
	"MQTT": {"mqtt"}, "AMQP": {"amqp"}, "Kafka": {"kafka"}, "Redis": {"redis"}, "Memcached": {"memcached"},
	"MySQL": {"mysql"}, "PostgreSQL": {"postgresql"}, "MongoDB": {"mongodb"}, "MsSQL-TDS": {"mssql"}, "Oracle": {"oracle"}, "Cassandra": {"cassandra"},
	"Modbus": {"modbus"}, "S7Comm": {"s7comm"}, "S7CommPlus": {"s7comm"}, "DNP3": {"dnp3"}, "IEC60870": {"iec104"}, "EthernetIP": {"ethernetip"},
	"BACnet": {"bacnet"}, "OPC-UA": {"opcua"}, "COAP": {"coap"}, "CoAP": {"coap"}, "BitTorrent": {"bittorrent"}, "WireGuard": {"wireguard"}, "OpenVPN": {"openvpn"},
	"IPSec": {"ike", "esp"}, "L2TP": {"l2tp"}, "Radius": {"radius"}, "Diameter": {"diameter"}, "SOCKS": {"socks"},
	"RTMP": {"rtmp"}, "RTSP": {"rtsp"}, "BITCOIN": {"bitcoin"}, "Tor": {"tor"}, "SSDP": {"ssdp"},
	"ICMP": {"icmp"}, "ICMPV6": {"icmpv6"}, "IGMP": {"igmp"},
}

// ndpiFlow is a line of ndpiReader's output.
type ndpiFlow struct {
	key        pair
	master     string
	service    string
	confidence string
	ja4, sni   string
	ja3, ja3s  string
	risks      []string
}

// pair is a flow's ends, the lower first.
type pair struct {
	proto uint8
	a, b  netip.AddrPort
}

func pairOf(proto uint8, a, b netip.AddrPort) pair {
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	return pair{proto, a, b}
}

var (
	ndpiLine  = regexp.MustCompile(`^\t\d+\t(\S+) (\S+) <?-> (\S+) .*?\[proto: [\d.]+/([^\]]+)\]`)
	ndpiField = regexp.MustCompile(`\[(Confidence|JA4|JA3C|JA3S|Hostname/SNI): ([^\]]*)\]`)
	ndpiProto = map[string]uint8{"TCP": 6, "UDP": 17, "ICMP": 1, "ICMPV6": 58, "IGMP": 2, "SCTP": 132}
)

// readNDPI reads what ndpiReader printed of one capture.
func readNDPI(t *testing.T, path string) (all []ndpiFlow) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		m := ndpiLine.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		proto, known := ndpiProto[m[1]]
		a, errA := netip.ParseAddrPort(m[2])
		b, errB := netip.ParseAddrPort(m[3])
		if errA != nil || errB != nil {
			if a, errA = withPort(m[2]); errA != nil {
				continue
			}
			if b, errB = withPort(m[3]); errB != nil {
				continue
			}
		}
		if !known {
			continue
		}
		n := ndpiFlow{key: pairOf(proto, a, b)}
		n.master, n.service, _ = strings.Cut(m[4], ".")
		for _, f := range ndpiField.FindAllStringSubmatch(lines.Text(), -1) {
			switch f[1] {
			case "Confidence":
				n.confidence = f[2]
			case "JA4":
				n.ja4 = f[2]
			case "JA3C":
				n.ja3 = f[2]
			case "JA3S":
				n.ja3s, _, _ = strings.Cut(f[2], " ") // nDPI adds what it thinks of the cipher
			case "Hostname/SNI":
				n.sni = f[2]
			}
		}
		for _, r := range ndpiRisks.FindAllStringSubmatch(lines.Text(), -1) {
			n.risks = append(n.risks, r[1])
		}
		all = append(all, n)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// withPort reads an address that stands without a port.
func withPort(s string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return netip.AddrPortFrom(a, 0), err
}

// ndpiCaptures calls f for each capture with nDPI's result.
func ndpiCaptures(t *testing.T, f func(name, path string, expected []ndpiFlow)) {
	root, dir := corpus.Dir(t), corpus.Unpack(t, "ndpi")
	for _, where := range [][2]string{{filepath.Join(root, "ndpi"), filepath.Join(root, "ndpi/expected")}, {filepath.Join(dir, "pcap"), filepath.Join(dir, "result")}} {
		files, err := filepath.Glob(filepath.Join(where[0], "*.*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no captures in %s: %v", where[0], err)
		}
		for _, path := range files {
			out := filepath.Join(where[1], filepath.Base(path)+".out")
			if _, err := os.Stat(out); err != nil {
				continue
			}
			f(filepath.Base(path), path, readNDPI(t, out))
		}
	}
}

// TestApplications: the application of each flow is nDPI's.
func TestApplications(t *testing.T) {
	a := tally{name: "application as nDPI's"}
	missed, silent := 0, 0
	ndpiCaptures(t, func(name, path string, expected []ndpiFlow) {
		ours := map[pair]map[string]int{}
		for _, r := range records(t, path) {
			k := keyOf(&r)
			if ours[k] == nil {
				ours[k] = map[string]int{}
			}
			ours[k][r.App]++
		}
		for _, n := range expected {
			want, listed := apps[n.master]
			if !listed || n.key.proto == 1 || n.key.proto == 58 || n.key.proto == 2 {
				continue
			}
			got, found := ours[n.key]
			if !found { // the flow of a tunnel's ends, or of its inside
				missed++
				continue
			}
			if got[""] > 0 && len(got) == 1 && byPort(n.confidence) == "by port" {
				silent++ // nothing was said, so nothing is named
				continue
			}
			ok := slices.ContainsFunc(want, func(app string) bool { return got[app] > 0 })
			a.check(n.master, ok, "%s\t%s %s is %s", name, n.master, byPort(n.confidence), strings.Join(slices.Sorted(maps.Keys(got)), " "))
		}
	})
	if *parts {
		for _, part := range slices.Sorted(maps.Keys(a.by)) {
			t.Logf("  %-16s %5d of %5d", part, a.by[part][0], a.by[part][1])
		}
	}
	t.Logf("%d flows of nDPI's have other addresses here; %d without payload are named by port there", missed, silent)
	a.report(t, 97, "testdata/ndpi.tsv")
}

// byPort keeps of nDPI's confidence whether it saw content.
func byPort(confidence string) string {
	if strings.HasPrefix(confidence, "Match by") {
		return "by port"
	}
	return "by content"
}

func keyOf(r *flow.Record) pair {
	return pairOf(r.Protocol, netip.AddrPortFrom(r.SrcIP.Netip(), r.SrcPort), netip.AddrPortFrom(r.DstIP.Netip(), r.DstPort))
}

// TestServerNames: JA4 and server names are nDPI's.
func TestServerNames(t *testing.T) {
	bugs := 0
	ja4, ja3, sni := tally{name: "JA4 as nDPI's"}, tally{name: "JA3 and JA3S as nDPI's"}, tally{name: "server name as nDPI's (TLS, QUIC)"}
	ndpiCaptures(t, func(name, path string, expected []ndpiFlow) {
		type set = map[string]bool
		type hello struct{ ja4, sni, ja3, ja3s set }
		ours := map[pair]hello{}
		for _, r := range records(t, path) {
			k := keyOf(&r)
			if ours[k].ja4 == nil {
				ours[k] = hello{set{}, set{}, set{}, set{}}
			}
			ours[k].ja4[r.JA4], ours[k].ja3[r.JA3], ours[k].ja3s[r.JA3S] = true, true, true
			ours[k].sni[strings.ToLower(r.TLSSNI)] = true
		}
		for _, n := range expected {
			got, found := ours[n.key]
			if !found {
				continue
			}
			if n.ja4 != "" {
				same := slices.ContainsFunc(slices.Collect(maps.Keys(got.ja4)), func(ours string) bool { return sameJA4(ours, n.ja4) })
				if same && !got.ja4[n.ja4] {
					bugs++
				}
				ja4.check(n.master, same, "%s\t%s is %s", name, n.ja4, list(got.ja4))
			}
			if n.ja3 != "" {
				ja3.check(n.master, got.ja3[n.ja3], "%s\tJA3 %s is %s", name, n.ja3, list(got.ja3))
			}
			if n.ja3s != "" {
				ja3.check(n.master, got.ja3s[n.ja3s], "%s\tJA3S %s is %s", name, n.ja3s, list(got.ja3s))
			}
			if n.sni != "" && (n.master == "TLS" || n.master == "QUIC" || n.master == "DTLS") {
				sni.check(n.master, got.sni[strings.ToLower(n.sni)], "%s\t%s is %s", name, n.sni, list(got.sni))
			}
		}
	})
	t.Logf("%d of the JA4 differ by what nDPI of that year got wrong", bugs)
	ja4.report(t, 97, "testdata/ja4.tsv")
	ja3.report(t, 97, "testdata/ja3.tsv")
	sni.report(t, 97, "testdata/sni.tsv")
}

// sameJA4 compares with nDPI of 2024-10, which wrote three things otherwise
// than the definition (JA4.md of FoxIO): 'd' also without a server name, the
// first two characters of the ALPN in place of its first and last, and the
// digest of nothing where there are no extensions.
func sameJA4(ours, theirs string) bool {
	if len(ours) != len(theirs) || len(ours) != 36 {
		return false
	}
	a, b := []byte(ours), []byte(theirs)
	if a[3] == 'i' && b[3] == 'd' {
		b[3] = 'i'
	}
	if a[8] == b[8] {
		b[9] = a[9]
	}
	if string(a[24:]) == "000000000000" && string(b[24:]) == "e3b0c44298fc" {
		copy(b[24:], a[24:])
	}
	return string(a) == string(b)
}

func list(m map[string]bool) string { return fmt.Sprintf("%q", slices.Sorted(maps.Keys(m))) }

// risks names nDPI's risks as ndpiReader prints them, those that the probe
// raises by the same definition.
var risks = map[string]flow.Risk{
	"Known Proto on Non Std Port": flow.RiskKnownProtocolOnNonStandardPort, "TLS (probably) Not Carrying HTTPS": flow.RiskTLSNotCarryingHTTPS,
	"Unsafe Protocol": flow.RiskUnsafeProtocol, "Missing SNI TLS Extn": flow.RiskTLSMissingSNI, "Error Code": flow.RiskErrorCodeDetected,
	"HTTP/TLS/QUIC Numeric Hostname/SNI": flow.RiskNumericIPHost, "Obsolete TLS (v1.1 or older)": flow.RiskTLSObsoleteVersion,
	"Desktop/File Sharing": flow.RiskDesktopOrFileSharingSession, "ALPN/SNI Mismatch": flow.RiskTLSALPNSNIMismatch, "Weak TLS Cipher": flow.RiskTLSWeakCipher,
	"Large DNS Packet (512+ bytes)": flow.RiskDNSLargePacket, "TLS Cert Validity Too Long": flow.RiskTLSCertValidityTooLong, "TLS Cert Mismatch": flow.RiskTLSCertificateMismatch,
	"TLS Cert Expired": flow.RiskTLSCertificateExpired, "Clear-Text Credentials": flow.RiskClearTextCredentials, "Self-signed Cert": flow.RiskTLSSelfsignedCertificate,
	"TLS Cert About To Expire": flow.RiskTLSCertificateAboutToExpire, "TLS Fatal Alert": flow.RiskTLSFatalAlert, "Uncommon TLS ALPN": flow.RiskTLSUncommonALPN,
	"IDN Domain Name": flow.RiskPunycodeIDN, "HTTP Obsolete Server": flow.RiskHTTPObsoleteServer, "SMB Insecure Vers": flow.RiskSMBInsecureVersion,
	"SQL Injection": flow.RiskURLPossibleSQLInjection, "SSH Obsolete Ser Vers/Cipher": flow.RiskSSHObsoleteServer, "SSH Obsolete Cli Vers/Cipher": flow.RiskSSHObsoleteClient,
	"Susp DGA Domain name": flow.RiskSuspiciousDGADomain, "Malformed Packet": flow.RiskMalformedPacket, "Susp Entropy": flow.RiskSuspiciousEntropy,
	"Crawler/Bot": flow.RiskHTTPCrawlerBot, "Fragmented DNS Message": flow.RiskDNSFragmented, "Non-Printable/Invalid Chars Detected": flow.RiskInvalidCharacters,
	"HTTP Susp User-Agent": flow.RiskHTTPSuspiciousUserAgent, "Binary File/Data Transfer (Attempt)": flow.RiskBinaryDataTransfer,
}

var ndpiRisks = regexp.MustCompile(`\*\* ([^*]+) \*\*`)

// TestRisks compares the risks with nDPI's. Some of nDPI's come of lists or
// states of its own, so the table is there to be read: what is promised is
// that no risk is raised without reason more often than with.
func TestRisks(t *testing.T) {
	type count struct{ both, ours, theirs int }
	counts := map[string]*count{}
	for name := range risks {
		counts[name] = &count{}
	}
	ndpiCaptures(t, func(name, path string, expected []ndpiFlow) {
		ours := map[pair]flow.Risk{}
		apps := map[pair]string{}
		for _, r := range records(t, path) {
			ours[keyOf(&r)] |= r.Risks
			apps[keyOf(&r)] = r.App
		}
		for _, n := range expected {
			if apps[n.key] == "" {
				continue
			}
			for text, risk := range risks {
				c, a, b := counts[text], ours[n.key]&risk != 0, slices.Contains(n.risks, text)
				switch {
				case a && b:
					c.both++
				case a:
					c.ours++
				case b:
					c.theirs++
				}
				if *parts && a != b {
					t.Logf("  %s\t%s %v here: %v %s", name, text, a, n.key, apps[n.key])
				}
			}
		}
	})
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		c := counts[name]
		t.Logf("quality: risk %-40s both %3d, ours only %3d, nDPI's only %3d", name, c.both, c.ours, c.theirs)
	}
}
