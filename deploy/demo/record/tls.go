package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// writeCA makes the lab's certification authority: ca.pem and ca.key in folder keys, gone with the lab.
func writeCA(keys string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make CA key: %w", err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Tapwatch demo CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	if err != nil {
		return fmt.Errorf("make CA certificate: %w", err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("write CA key: %w", err)
	}
	for name, block := range map[string]*pem.Block{"ca.pem": {Type: "CERTIFICATE", Bytes: der}, "ca.key": {Type: "EC PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(keys, name), pem.EncodeToMemory(block), 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return nil
}

// serverTLS answers every name of the lab with a leaf of its own, signed by the CA in keys.
func serverTLS(keys string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(keys, "ca.pem"), filepath.Join(keys, "ca.key"))
	if err != nil {
		return nil, fmt.Errorf("load CA: %w", err)
	}
	ca, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("parse CA: %w", err)
	}
	leaf, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make leaf key: %w", err)
	}
	var mu sync.Mutex
	made := map[string]*tls.Certificate{}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		// Records of 16 kB from the start, as most servers do; Go's own way makes many packets of 1.4 kB.
		DynamicRecordSizingDisabled: true,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			name := hello.ServerName
			if name == "" {
				name = "default.example"
			}
			mu.Lock()
			defer mu.Unlock()
			if c := made[name]; c != nil {
				return c, nil
			}
			if len(made) > 200 {
				return nil, errors.New("serve TLS: too many names")
			}
			template := &x509.Certificate{
				SerialNumber: big.NewInt(int64(len(made)) + 2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
				NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 3, 0),
				KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			}
			der, err := x509.CreateCertificate(rand.Reader, template, ca, &leaf.PublicKey, pair.PrivateKey)
			if err != nil {
				return nil, fmt.Errorf("make certificate of %s: %w", name, err)
			}
			c := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: leaf}
			made[name] = c
			return c, nil
		},
	}, nil
}

// clientTLS trusts the lab's CA only.
func clientTLS(keys string) (*tls.Config, error) {
	text, err := os.ReadFile(filepath.Join(keys, "ca.pem"))
	if err != nil {
		return nil, fmt.Errorf("load CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New("load CA: no certificate in ca.pem")
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}
