package dpi

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	tag "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/tapwatch/tapwatch/proto/flow"
)

// certificateInfo is what is kept of an X.509 certificate (RFC 5280).
type certificateInfo struct {
	subject, issuer, sha256 string
	notBefore, notAfter     int64 // seconds since the Unix epoch
	names                   []string
	common                  string // CN of the subject
	selfSigned              bool
	wrong                   bool // it does not parse
}

// certificateCache remembers certificates by their digest: a server shows the
// same one to everybody. It is emptied when full.
type certificateCache map[[sha256.Size]byte]*certificateInfo

const maxCertificates = 2048

// certificate takes the body of a Certificate message (RFC 5246, section 7.4.2), which may
// break off after the first certificate: that is the server's own.
func (in *Inspector) certificate(body []byte, rec *flow.Record, now int64) {
	if len(body) < 6 || rec.CertSHA256 != "" {
		return
	}
	size := int(body[3])<<16 + int(body[4])<<8 + int(body[5])
	if size == 0 || 6+size > len(body) {
		in.malformed(rec)
		return
	}
	der := body[6 : 6+size]
	sum := sha256.Sum256(der)
	c := in.certificates[sum]
	if c == nil {
		c = readCertificate(der)
		c.sha256 = hex.EncodeToString(sum[:])
		c.subject, c.issuer = in.printable([]byte(c.subject), rec), in.printable([]byte(c.issuer), rec)
		for i, name := range c.names {
			c.names[i] = in.printable([]byte(name), rec)
		}
		if in.certificates == nil || len(in.certificates) >= maxCertificates {
			in.certificates = make(certificateCache)
		}
		in.certificates[sum] = c
	}
	if c.wrong {
		in.malformed(rec)
	}
	rec.CertSHA256, rec.CertSubject, rec.CertIssuer = c.sha256, c.subject, c.issuer
	rec.CertNotBefore, rec.CertNotAfter = uint64(max(c.notBefore, 0)), uint64(max(c.notAfter, 0))
	rec.CertNames = append(rec.CertNames[:0], c.names...)
	rec.Risks |= c.risks(rec.TLSSNI, now/int64(time.Second))
}

// Bounds of a certificate's validity, as nDPI takes them: what the CA/Browser
// Forum allows since 2020-09-01, and a month's notice.
const (
	validityRule  = 1598918400      // 2020-09-01, seconds since the Unix epoch
	longValidity  = 398 * 24 * 3600 // seconds
	aboutToExpire = 30 * 24 * 3600  // seconds
)

// risks judges the certificate at a time, seconds since the Unix epoch, for a
// server of a name.
func (c *certificateInfo) risks(sni string, now int64) (r flow.Risk) {
	if c.selfSigned {
		r |= flow.RiskTLSSelfsignedCertificate
	}
	if c.notAfter == 0 {
		return r
	}
	switch {
	case now < c.notBefore || now > c.notAfter:
		r |= flow.RiskTLSCertificateExpired
	case now > c.notAfter-aboutToExpire:
		r |= flow.RiskTLSCertificateAboutToExpire
	}
	if c.notBefore > validityRule && c.notAfter-c.notBefore > longValidity {
		r |= flow.RiskTLSCertValidityTooLong
	}
	if sni != "" && !c.covers(strings.ToLower(sni)) {
		r |= flow.RiskTLSCertificateMismatch
	}
	return r
}

// covers tells whether the certificate is one for a name, with a star for one
// label at most (RFC 6125, section 6.4.3).
func (c *certificateInfo) covers(name string) bool {
	match := func(pattern string) bool {
		pattern = strings.ToLower(pattern)
		if rest, ok := strings.CutPrefix(pattern, "*."); ok {
			_, parent, found := strings.Cut(name, ".")
			return found && parent == rest
		}
		return pattern == name
	}
	for _, n := range c.names {
		if match(n) {
			return true
		}
	}
	return len(c.names) == 0 && match(c.common)
}

// readCertificate takes out what is kept. It is lenient: certificates that
// strict readers refuse are the ones to look at.
func readCertificate(der []byte) *certificateInfo {
	c := &certificateInfo{wrong: true}
	input := cryptobyte.String(der)
	var all, body, issuer, validity, subject cryptobyte.String
	if !input.ReadASN1(&all, tag.SEQUENCE) || !all.ReadASN1(&body, tag.SEQUENCE) ||
		!body.SkipOptionalASN1(tag.Tag(0).Constructed().ContextSpecific()) || // version
		!body.SkipASN1(tag.INTEGER) || !body.SkipASN1(tag.SEQUENCE) || // serial, algorithm
		!body.ReadASN1Element(&issuer, tag.SEQUENCE) || !body.ReadASN1(&validity, tag.SEQUENCE) || !body.ReadASN1Element(&subject, tag.SEQUENCE) {
		return c
	}
	c.issuer, _ = distinguishedName(issuer)
	c.subject, c.common = distinguishedName(subject)
	c.selfSigned = bytes.Equal(issuer, subject)
	var ok bool
	if c.notBefore, ok = readTime(&validity); !ok {
		return c
	}
	if c.notAfter, ok = readTime(&validity); !ok {
		return c
	}
	c.wrong = false
	if !body.SkipASN1(tag.SEQUENCE) { // public key
		return c
	}
	body.SkipOptionalASN1(tag.Tag(1).ContextSpecific())
	body.SkipOptionalASN1(tag.Tag(2).ContextSpecific())
	var explicit, extensions cryptobyte.String
	if !body.ReadASN1(&explicit, tag.Tag(3).Constructed().ContextSpecific()) || !explicit.ReadASN1(&extensions, tag.SEQUENCE) {
		return c
	}
	for !extensions.Empty() {
		var ext, value cryptobyte.String
		var id asn1.ObjectIdentifier
		if !extensions.ReadASN1(&ext, tag.SEQUENCE) || !ext.ReadASN1ObjectIdentifier(&id) ||
			!ext.SkipOptionalASN1(tag.BOOLEAN) || !ext.ReadASN1(&value, tag.OCTET_STRING) {
			break
		}
		if id.Equal(subjectAltName) {
			c.names = alternativeNames(value)
		}
	}
	return c
}

var subjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// alternativeNames reads DNS names and addresses (RFC 5280, section 4.2.1.6).
func alternativeNames(value cryptobyte.String) (names []string) {
	var list cryptobyte.String
	if !value.ReadASN1(&list, tag.SEQUENCE) {
		return nil
	}
	for !list.Empty() && len(names) < flow.MaxList {
		var name cryptobyte.String
		var kind tag.Tag
		if !list.ReadAnyASN1(&name, &kind) {
			break
		}
		switch kind {
		case tag.Tag(1).ContextSpecific(), tag.Tag(2).ContextSpecific(), tag.Tag(6).ContextSpecific(): // mail, DNS, URI
			names = append(names, string(name))
		case tag.Tag(7).ContextSpecific():
			if a, ok := netip.AddrFromSlice(name); ok {
				names = append(names, a.String())
			}
		}
	}
	return names
}

// distinguishedName returns a Name as text (RFC 4514) and its common name.
func distinguishedName(der []byte) (text, common string) {
	var seq pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &seq); err != nil || len(rest) > 0 {
		return "", ""
	}
	for _, set := range seq {
		for _, a := range set {
			if a.Type.Equal(commonName) {
				common, _ = a.Value.(string)
			}
		}
	}
	return nameText(seq), common
}

// nameText is pkix's text, with the short names that people know for what has
// none there.
func nameText(seq pkix.RDNSequence) string {
	var out []byte
	for i := len(seq) - 1; i >= 0; i-- {
		for j, a := range seq[i] {
			if j > 0 {
				out = append(out, '+')
			} else if len(out) > 0 {
				out = append(out, ',')
			}
			value, isText := a.Value.(string)
			key := attributeNames[a.Type.String()]
			if key == "" || !isText {
				out = append(out, pkix.RDNSequence{{a}}.String()...)
				continue
			}
			// pkix knows how to escape the value.
			a.Type, a.Value = commonName, value
			text := pkix.RDNSequence{{a}}.String()
			out = append(append(append(out, key...), '='), text[len("CN="):]...)
		}
	}
	return string(out)
}

// attributeNames are types that pkix writes as numbers (RFC 4514, section 3;
// RFC 2985, section 5.2.1).
var attributeNames = map[string]string{"1.2.840.113549.1.9.1": "emailAddress", "0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID"}

var commonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// readTime reads UTCTime or GeneralizedTime.
func readTime(s *cryptobyte.String) (int64, bool) {
	var t time.Time
	switch {
	case s.PeekASN1Tag(tag.UTCTime):
		if !s.ReadASN1UTCTime(&t) {
			return 0, false
		}
	case !s.ReadASN1GeneralizedTime(&t):
		return 0, false
	}
	return t.Unix(), true
}
