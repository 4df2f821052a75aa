package console

import (
	"net/http"
	"testing"
)

func TestEveryPathAnswers(t *testing.T) {
	r := newRig(t, "console_smoke", Config{})
	paths := []string{"/api/v1/alerts", "/api/v1/flows", "/api/v1/top", "/api/v1/timeseries", "/api/v1/timeseries?split=app", "/api/v1/ledger", "/api/v1/status",
		"/api/v1/detectors", "/api/v1/flows.csv", "/api/openapi.json", "/", "/assets/app.js"}
	for _, by := range []string{"host", "src_ip", "dst_ip", "pair", "app", "dst_port", "tls_sni", "http_host", "dns_name", "ja4"} {
		paths = append(paths, "/api/v1/top?by="+by)
	}
	for _, when := range []string{"empty", "filled"} {
		if when == "filled" {
			r.fill(3)
			r.raise(scanAlertOf(day0))
		}
		for _, p := range paths {
			resp := r.get(p, nil)
			if resp.StatusCode != http.StatusOK {
				b := make([]byte, 2000)
				n, _ := resp.Body.Read(b)
				t.Errorf("%s: GET %s: %d %s", when, p, resp.StatusCode, b[:n])
			}
		}
	}
}
