// Package channel has the detectors of hidden ways out and in: calls home, tunnels,
// connections that never end.
package channel

import (
	"errors"
	"time"

	"github.com/tapwatch/tapwatch/analyzer/detect"
)

// Config are the thresholds of the detectors here.
type Config struct {
	Beacon           BeaconConfig           `conf:"beacon"`
	DNSTunnel        DNSTunnelConfig        `conf:"dns_tunnel"`
	ICMPTunnel       ICMPTunnelConfig       `conf:"icmp_tunnel"`
	DGA              DGAConfig              `conf:"dga"`
	ConnectionBeacon ConnectionBeaconConfig `conf:"connection_beacon"`
	Tunnelled        TunnelledConfig        `conf:"tunnelled"`
	LongConnection   LongConnectionConfig   `conf:"long_connection"`
}

// DefaultConfig returns the published thresholds, whose sources the detectors name.
func DefaultConfig() Config {
	return Config{
		Beacon: BeaconConfig{MinScore: 0.3, MinGap: 10, MaxGap: 14400, MinConnections: 12, MinConcentration: 0.6, MaxSizeSpread: 0.25, KnownNames: knownNames()},
		DNSTunnel: DNSTunnelConfig{MinInformation: 2000, MinNames: 20, MinLength: 12, MinEntropy: 3.2, FewNames: 8, FewLength: 24,
			KnownDomains: []string{"sophosxl.net", "mcafee.com", "trendmicro.com", "e5.sk", "eset.com", "bitdefender.net", "cymru.com", "spamhaus.org", "spamhaus.net", "surbl.org", "uribl.com", "senderbase.org",
				"dnswl.org", "barracudacentral.org", "spamcop.net", "sorbs.net", "mailspike.net", "googlevideo.com", "ip6.arpa", "in-addr.arpa"},
			InternalZones: []string{"local", "localdomain", "lan", "home", "corp", "internal", "intranet", "private", "home.arpa", "workgroup"}},
		DGA:              DGAConfig{MinDomains: 10, MinShare: 0.5, MaxFamiliar: 0.6},
		ICMPTunnel:       ICMPTunnelConfig{MinEchoes: 20, MinSize: 64, MinSpread: 10},
		ConnectionBeacon: ConnectionBeaconConfig{MaxSpread: 0.3, MaxRate: 2000, MaxClients: 3},
		Tunnelled:        TunnelledConfig{MaxClients: 10},
		LongConnection: LongConnectionConfig{MinDuration: time.Hour, MaxClients: 5,
			QuietApps:  []string{"openvpn", "wireguard", "ipsec", "l2tp", "pptp", "gre", "rtp", "sip", "stun", "bgp", "ntp", "syslog", "mqtt", "xmpp", "imap", "imaps"},
			InsideApps: []string{"ssh", "smb", "nfs", "ldap", "kerberos", "rdp", "vnc", "mysql", "postgresql", "mssql", "oracle", "redis", "mongodb", "kafka", "amqp", "http", "tls", "dns", "snmp", "netflow", "sflow", "modbus", "s7", "s7comm"}},
	}
}

// knownNames are the domains of system updates, telemetry, certificate status and
// push services, of the makers of common systems and programs.
func knownNames() []string {
	return []string{
		"microsoft.com", "windowsupdate.com", "windows.com", "windows.net", "office.com", "office365.com", "live.com", "msftconnecttest.com", "msftncsi.com", "msedge.net", "skype.com", "azureedge.net",
		"apple.com", "icloud.com", "mzstatic.com", "aaplimg.com", "google.com", "googleapis.com", "gstatic.com", "gvt1.com", "android.com", "pki.goog",
		"mozilla.com", "mozilla.net", "mozilla.org", "firefox.com", "ubuntu.com", "canonical.com", "snapcraft.io", "debian.org", "fedoraproject.org", "redhat.com", "centos.org", "opensuse.org", "archlinux.org",
		"digicert.com", "lencr.org", "letsencrypt.org", "sectigo.com", "globalsign.com", "verisign.com", "entrust.net", "adobe.com", "adobe.io", "dropbox.com", "whatsapp.net", "slack.com", "zoom.us", "spotify.com",
		"cloudsink.net", "symantec.com", "mcafee.com", "kaspersky.com", "eset.com", "avast.com", "avg.com", "sophos.com", "trendmicro.com", "bitdefender.net", "malwarebytes.com",
		"hp.com", "dell.com", "lenovo.com", "nvidia.com", "intel.com", "vmware.com", "cisco.com", "amazonalexa.com", "digitalocean.com", "datadoghq.com", "newrelic.com", "sentry.io", "nr-data.net",
	}
}

// Check says what is wrong with c.
func (c Config) Check() error {
	return errors.Join(
		detect.CheckShares(map[string]float64{"beacon.min_score": c.Beacon.MinScore, "beacon.min_concentration": c.Beacon.MinConcentration, "beacon.max_size_spread": c.Beacon.MaxSizeSpread}),
		detect.CheckPositive(map[string]float64{"beacon.min_gap": c.Beacon.MinGap, "beacon.max_gap": c.Beacon.MaxGap}),
		detect.CheckPositive(map[string]float64{"dns_tunnel.min_information": c.DNSTunnel.MinInformation, "dns_tunnel.min_length": c.DNSTunnel.MinLength, "dns_tunnel.few_length": c.DNSTunnel.FewLength}),
		detect.CheckPositive(map[string]float64{"icmp_tunnel.min_echoes": c.ICMPTunnel.MinEchoes, "icmp_tunnel.min_size": c.ICMPTunnel.MinSize, "icmp_tunnel.min_spread": c.ICMPTunnel.MinSpread,
			"long_connection.min_duration": c.LongConnection.MinDuration.Seconds()}),
		detect.CheckPositive(map[string]float64{"connection_beacon.max_spread": c.ConnectionBeacon.MaxSpread, "connection_beacon.max_rate": c.ConnectionBeacon.MaxRate}),
		detect.CheckCounts(1, map[string]int{"connection_beacon.max_clients": c.ConnectionBeacon.MaxClients, "tunnelled.max_clients": c.Tunnelled.MaxClients, "long_connection.max_clients": c.LongConnection.MaxClients}),
		detect.CheckShares(map[string]float64{"dga.min_share": c.DGA.MinShare, "dga.max_familiar": c.DGA.MaxFamiliar}),
		detect.CheckCounts(2, map[string]int{"dga.min_domains": c.DGA.MinDomains, "dns_tunnel.min_names": c.DNSTunnel.MinNames, "dns_tunnel.few_names": c.DNSTunnel.FewNames}),
		detect.CheckCounts(7, map[string]int{"beacon.min_connections": c.Beacon.MinConnections}),
	)
}

// All returns the detectors, the quick ones first.
func All(own detect.Own, c Config) []detect.Detector {
	return []detect.Detector{newDNSTunnel(own, c.DNSTunnel), newDGA(own, c.DNSTunnel.InternalZones, c.DGA), newICMPTunnel(own, c.ICMPTunnel),
		newConnectionBeacon(own, c.ConnectionBeacon), newTunnelled(own, c.Tunnelled), newBeacon(own, c.Beacon),
		newLongConnection(own, c.Beacon.KnownNames, c.LongConnection)}
}
