package report

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// The page shows in a browser, on screen and on paper, and what the wire has
// named is text. TAPWATCH_SCREENSHOTS is a directory for what it looks like.
func TestBrowser(t *testing.T) {
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("no Chromium on the PATH")
		}
		t.Skip("no Chromium on the PATH: install chromium to run this")
	}
	conn := fixture(t)
	m := maker(t, conn, nil)
	p, err := PeriodOf(Daily, time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Make(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := Write(dir, r); err != nil {
		t.Fatal(err)
	}
	i, err := m.Incident(t.Context(), r.Worst[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "incident.html"))
	if err != nil {
		t.Fatal(err)
	}
	if err := i.HTML(f); err != nil {
		t.Fatal(err)
	}
	f.Close()

	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	keep := func(name string, data []byte) {
		if out := os.Getenv("TAPWATCH_SCREENSHOTS"); out != "" {
			if err := os.WriteFile(filepath.Join(out, name), data, 0o600); err != nil {
				t.Error(err)
			}
		}
	}
	for _, name := range []string{r.Name, "incident"} {
		for _, look := range [][2]string{{"", "light"}, {"", "dark"}, {"print", "dark"}} { // paper is white whatever the screen is
			err := chromedp.Do(ctx, chromedp.EmulateViewport(1200, 900),
				command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: look[0], Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look[1]}}}),
				chromedp.Navigate("file://"+filepath.Join(dir, name+".html")),
				check(`!window.pwned`, t), check(`document.documentElement.scrollWidth <= innerWidth`, t), check(`document.querySelectorAll('tr').length >= 8`, t),
				func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
					shot, err := chromedp.FullScreenshot(100)(ctx, target)
					keep(name+"-"+look[0]+look[1]+".png", shot)
					return chromedp.Void{}, err
				})
			if err != nil {
				t.Fatal(err)
			}
		}
		err := chromedp.Do(ctx, func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
			paper, err := cdp.Call(ctx, target, page.PrintToPDF, page.PrintToPDFParams{PreferCSSPageSize: new(true), PrintBackground: new(true)})
			if err == nil {
				keep(name+".pdf", paper.Data)
				if len(paper.Data) < 1000 || string(paper.Data[:4]) != "%PDF" {
					t.Errorf("%s: print: %d octets", name, len(paper.Data))
				}
			}
			return chromedp.Void{}, err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func command[P, R any](c cdp.Command[P, R], p P) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, c, p)
		return chromedp.Void{}, err
	}
}

// check fails the test if an expression is not true on the page.
func check(expression string, t *testing.T) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, target *chromedp.Target) (chromedp.Void, error) {
		ok, err := chromedp.Evaluate[bool](expression)(ctx, target)
		if err == nil && !ok {
			t.Errorf("not true: %s", expression)
		}
		return chromedp.Void{}, err
	}
}
