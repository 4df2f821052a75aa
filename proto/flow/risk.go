package flow

import "math/bits"

// Risk is a set of what is unusual about a flow, a bit each. The numbers and
// names are those of nDPI's flow risks (ndpi_risk_enum); a probe raises those
// it can see, and the others keep their places.
type Risk uint64

const (
	RiskURLPossibleXSS                 Risk = 1 << 1
	RiskURLPossibleSQLInjection        Risk = 1 << 2
	RiskURLPossibleRCEInjection        Risk = 1 << 3
	RiskBinaryApplicationTransfer      Risk = 1 << 4
	RiskKnownProtocolOnNonStandardPort Risk = 1 << 5
	RiskTLSSelfsignedCertificate       Risk = 1 << 6
	RiskTLSObsoleteVersion             Risk = 1 << 7
	RiskTLSWeakCipher                  Risk = 1 << 8
	RiskTLSCertificateExpired          Risk = 1 << 9
	RiskTLSCertificateMismatch         Risk = 1 << 10
	RiskHTTPSuspiciousUserAgent        Risk = 1 << 11
	RiskNumericIPHost                  Risk = 1 << 12
	RiskHTTPSuspiciousURL              Risk = 1 << 13
	RiskHTTPSuspiciousHeader           Risk = 1 << 14
	RiskTLSNotCarryingHTTPS            Risk = 1 << 15
	RiskSuspiciousDGADomain            Risk = 1 << 16
	RiskMalformedPacket                Risk = 1 << 17
	RiskSSHObsoleteClient              Risk = 1 << 18
	RiskSSHObsoleteServer              Risk = 1 << 19
	RiskSMBInsecureVersion             Risk = 1 << 20
	RiskMismatchingProtocolWithIP      Risk = 1 << 21
	RiskUnsafeProtocol                 Risk = 1 << 22
	RiskDNSSuspiciousTraffic           Risk = 1 << 23
	RiskTLSMissingSNI                  Risk = 1 << 24
	RiskHTTPSuspiciousContent          Risk = 1 << 25
	RiskRiskyASN                       Risk = 1 << 26
	RiskRiskyDomain                    Risk = 1 << 27
	RiskMaliciousFingerprint           Risk = 1 << 28
	RiskMaliciousSHA1Certificate       Risk = 1 << 29
	RiskDesktopOrFileSharingSession    Risk = 1 << 30
	RiskTLSUncommonALPN                Risk = 1 << 31
	RiskTLSCertValidityTooLong         Risk = 1 << 32
	RiskTLSSuspiciousExtension         Risk = 1 << 33
	RiskTLSFatalAlert                  Risk = 1 << 34
	RiskSuspiciousEntropy              Risk = 1 << 35
	RiskClearTextCredentials           Risk = 1 << 36
	RiskDNSLargePacket                 Risk = 1 << 37
	RiskDNSFragmented                  Risk = 1 << 38
	RiskInvalidCharacters              Risk = 1 << 39
	RiskPossibleExploit                Risk = 1 << 40
	RiskTLSCertificateAboutToExpire    Risk = 1 << 41
	RiskPunycodeIDN                    Risk = 1 << 42
	RiskErrorCodeDetected              Risk = 1 << 43
	RiskHTTPCrawlerBot                 Risk = 1 << 44
	RiskAnonymousSubscriber            Risk = 1 << 45
	RiskUnidirectionalTraffic          Risk = 1 << 46
	RiskHTTPObsoleteServer             Risk = 1 << 47
	RiskPeriodicFlow                   Risk = 1 << 48
	RiskMinorIssues                    Risk = 1 << 49
	RiskTCPIssues                      Risk = 1 << 50
	RiskFullyEncrypted                 Risk = 1 << 51
	RiskTLSALPNSNIMismatch             Risk = 1 << 52
	RiskMalwareHostContacted           Risk = 1 << 53
	RiskBinaryDataTransfer             Risk = 1 << 54
	RiskProbingAttempt                 Risk = 1 << 55
	RiskObfuscatedTraffic              Risk = 1 << 56
)

// riskNames holds the name of each bit.
var riskNames = [...]string{
	1:  "url_possible_xss",
	2:  "url_possible_sql_injection",
	3:  "url_possible_rce_injection",
	4:  "binary_application_transfer",
	5:  "known_protocol_on_non_standard_port",
	6:  "tls_selfsigned_certificate",
	7:  "tls_obsolete_version",
	8:  "tls_weak_cipher",
	9:  "tls_certificate_expired",
	10: "tls_certificate_mismatch",
	11: "http_suspicious_user_agent",
	12: "numeric_ip_host",
	13: "http_suspicious_url",
	14: "http_suspicious_header",
	15: "tls_not_carrying_https",
	16: "suspicious_dga_domain",
	17: "malformed_packet",
	18: "ssh_obsolete_client",
	19: "ssh_obsolete_server",
	20: "smb_insecure_version",
	21: "mismatching_protocol_with_ip",
	22: "unsafe_protocol",
	23: "dns_suspicious_traffic",
	24: "tls_missing_sni",
	25: "http_suspicious_content",
	26: "risky_asn",
	27: "risky_domain",
	28: "malicious_fingerprint",
	29: "malicious_sha1_certificate",
	30: "desktop_or_file_sharing_session",
	31: "tls_uncommon_alpn",
	32: "tls_cert_validity_too_long",
	33: "tls_suspicious_extension",
	34: "tls_fatal_alert",
	35: "suspicious_entropy",
	36: "clear_text_credentials",
	37: "dns_large_packet",
	38: "dns_fragmented",
	39: "invalid_characters",
	40: "possible_exploit",
	41: "tls_certificate_about_to_expire",
	42: "punycode_idn",
	43: "error_code_detected",
	44: "http_crawler_bot",
	45: "anonymous_subscriber",
	46: "unidirectional_traffic",
	47: "http_obsolete_server",
	48: "periodic_flow",
	49: "minor_issues",
	50: "tcp_issues",
	51: "fully_encrypted",
	52: "tls_alpn_sni_mismatch",
	53: "malware_host_contacted",
	54: "binary_data_transfer",
	55: "probing_attempt",
	56: "obfuscated_traffic",
}

// Names lists the risks in the set, in order of their bits; a bit without a
// name is left out.
func (r Risk) Names() []string {
	var names []string
	for ; r != 0; r &= r - 1 {
		if i := bits.TrailingZeros64(uint64(r)); i < len(riskNames) && riskNames[i] != "" {
			names = append(names, riskNames[i])
		}
	}
	return names
}

// appendJSON appends the names as a JSON list.
func (r Risk) appendJSON(dst []byte) []byte {
	dst = append(dst, '[')
	for i, name := range r.Names() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, name)
	}
	return append(dst, ']')
}
