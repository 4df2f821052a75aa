package zeek

import (
	"crypto/tls"
	"strings"

	"github.com/tapwatch/tapwatch/proto/flow"
)

var tunnelKinds = map[string]flow.Tunnel{"Tunnel::IP": flow.TunnelIPIP, "Tunnel::GRE": flow.TunnelGRE, "Tunnel::VXLAN": flow.TunnelVXLAN,
	"Tunnel::GENEVE": flow.TunnelGENEVE, "Tunnel::GTPv1": flow.TunnelGTPU, "Tunnel::TEREDO": flow.TunnelTeredo}

var tlsVersions = map[string]uint16{"SSLv2": 0x0002, "SSLv3": 0x0300, "SSLv30": 0x0300, "TLSv10": 0x0301, "TLSv11": 0x0302, "TLSv12": 0x0303,
	"TLSv13": 0x0304, "DTLSv10": 0xfeff, "DTLSv12": 0xfefd, "DTLSv13": 0xfefc}

// ciphers are the suites whose names the standard library has, in IANA's
// spelling as Zeek's, and those that it lacks but servers still choose (IANA TLS Cipher Suites).
var ciphers = func() map[string]uint16 {
	m := map[string]uint16{
		"TLS_DHE_RSA_WITH_AES_128_CBC_SHA": 0x0033, "TLS_DHE_RSA_WITH_AES_256_CBC_SHA": 0x0039,
		"TLS_DHE_RSA_WITH_AES_128_CBC_SHA256": 0x0067, "TLS_DHE_RSA_WITH_AES_256_CBC_SHA256": 0x006b,
		"TLS_DHE_RSA_WITH_AES_128_GCM_SHA256": 0x009e, "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384": 0x009f,
		"TLS_RSA_WITH_AES_256_CBC_SHA256": 0x003d, "TLS_RSA_WITH_RC4_128_MD5": 0x0004,
		"TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384": 0xc024, "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384": 0xc028,
		"TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256": 0xccaa,
	}
	for _, list := range [][]*tls.CipherSuite{tls.CipherSuites(), tls.InsecureCipherSuites()} {
		for _, c := range list {
			m[c.Name] = c.ID
		}
	}
	return m
}()

// appNames are the services and logs that we call otherwise.
var appNames = map[string]string{"ssl": "tls", "krb": "kerberos", "ftp-data": "ftp_data", "rfb": "vnc", "gtpv1": "gtpu", "smb_mapping": "smb",
	"smb_files": "smb", "smb_cmd": "smb", "ldap_search": "ldap", "mqtt_connect": "mqtt", "ntlm": "", "gssapi": "", "files": "", "x509": "",
	"ipsec": "ike", "wireguard": "wireguard"}

// appOf is our name of a service; names over multicast have their own.
func appOf(service string, port uint16) string {
	s := strings.ToLower(service)
	s = strings.TrimPrefix(s, "spicy_")
	for _, suffix := range []string{"_tcp", "_udp", "_tcpflow"} {
		s = strings.TrimSuffix(s, suffix)
	}
	if name, ok := appNames[s]; ok {
		s = name
	}
	if s == "dns" {
		switch port {
		case 5353:
			return "mdns"
		case 5355:
			return "llmnr"
		case 137:
			return "nbns"
		}
	}
	return s
}

// weak are services that ride within others: of several the other is the application.
var weak = map[string]bool{"tls": true, "kerberos": true, "dce_rpc": true, "http": true}

// pickApp is the application among Zeek's services of a connection: "gssapi,krb,smb" is smb, "quic,ssl" quic.
func pickApp(services []string, port uint16) (app string) {
	for _, s := range services {
		if strings.HasPrefix(s, "-") { // Zeek 7: an analyzer that has given up
			continue
		}
		name := appOf(s, port)
		if name != "" && (app == "" || weak[app] && !weak[name]) {
			app = name
		}
	}
	return app
}
