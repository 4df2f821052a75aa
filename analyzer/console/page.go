package console

import (
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"path"
)

//go:embed assets
var assets embed.FS

// pageRoutes serves the page and what it is made of. All of it is in the
// binary; nothing is fetched from elsewhere.
func (c *Console) pageRoutes(mux *router) error {
	page, err := template.ParseFS(assets, "assets/page.html")
	if err != nil {
		return fmt.Errorf("parse page: %w", err)
	}
	files, err := fs.ReadDir(assets, "assets")
	if err != nil {
		return err
	}
	for _, f := range files {
		if path.Ext(f.Name()) == ".html" {
			continue
		}
		body, err := fs.ReadFile(assets, "assets/"+f.Name())
		if err != nil {
			return err
		}
		kind := mime.TypeByExtension(path.Ext(f.Name()))
		switch path.Ext(f.Name()) { // not what this machine's tables say
		case ".js":
			kind = "text/javascript; charset=utf-8"
		case ".css":
			kind = "text/css; charset=utf-8"
		case ".svg":
			kind = "image/svg+xml"
		}
		mux.allow(Viewer, "GET /assets/"+f.Name())
		mux.HandleFunc("GET /assets/"+f.Name(), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write(body)
		})
	}
	icon, err := fs.ReadFile(assets, "assets/icon.svg")
	if err != nil {
		return err
	}
	mux.allow(Viewer, "GET /favicon.ico", "GET /{$}")
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/svg+xml")
		_, _ = w.Write(icon)
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		s, _ := c.door.session(r)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		who := whoIs(r.Context())
		_ = page.Execute(w, struct {
			CSRF, User, Role string
			Password         bool
		}{s.csrf, who.name, string(who.role), c.door.password && s.csrf != ""})
	})
	return nil
}

func (d *door) loginPage(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = d.form.Execute(w, struct{ CSRF, Message string }{d.token(), message})
}
