package kit

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLS is how a client secures its connections. The zero value is plain text. Certificates are always verified: there
// is no switch to skip that, a private authority goes into CA.
type TLS struct {
	Enabled    bool   `conf:"enabled" help:"encrypt connections and verify the server's certificate"`
	CA         string `conf:"ca" help:"PEM file of the authorities to trust; empty: those of the system"`
	Cert       string `conf:"cert" help:"PEM file with this client's certificate; empty: none is shown"`
	Key        string `conf:"key" help:"PEM file with the private key of cert"`
	ServerName string `conf:"server_name" help:"name to expect in the certificate; empty: the host dialled"`
}

// Config reads the files and returns settings for a client, TLS 1.2 or newer (RFC 9325, section 3.1.1), or nil when
// TLS is not enabled. The result belongs to the caller.
func (t TLS) Config() (*tls.Config, error) {
	if !t.Enabled {
		if t.CA != "" || t.Cert != "" || t.Key != "" || t.ServerName != "" {
			return nil, Hint(errors.New("tls: files or names are given, but it is not enabled"),
				"set tls.enabled to true, or remove the other tls keys")
		}
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, Hint(fmt.Errorf("read tls.ca: %w", err), "name a PEM file that this user may read")
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, Hint(fmt.Errorf("read tls.ca %s: no certificate in it", t.CA), "the file must be PEM, not DER or PKCS12")
		}
	}
	if (t.Cert == "") != (t.Key == "") {
		return nil, Hint(errors.New("tls: cert and key are only good together"), "set both tls.cert and tls.key, or neither")
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, Hint(fmt.Errorf("read tls.cert %s and tls.key %s: %w", t.Cert, t.Key, err),
				"both must be PEM files that this user may read and belong to each other")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
