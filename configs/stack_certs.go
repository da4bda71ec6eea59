package configs

import (
	"path/filepath"

	"arzur.net/lb/certs"
)

// Rancher's load balancer finds its certificates in folders that labels of its
// service name, with fullchain.pem and privkey.pem in each domain's.
const (
	certDir        = "io.rancher.lb_service.cert_dir"
	defaultCertDir = "io.rancher.lb_service.default_cert_dir"
)

// stackCerts is what one place says of the certificates of a stack's load balancer.
type stackCerts struct {
	at       value // where it stands, empty when nothing is said
	list     []certs.Files
	standard *certs.Files
}

// readList reads lb_config.certs. In Rancher's own files they are names of
// certificates that Rancher keeps.
func (s *stackCerts) readList(v value) {
	s.at = v
	for _, item := range v.items() {
		if item.isStored() {
			continue
		}
		if f := item.certificate(true); f != nil {
			s.list = append(s.list, *f)
		}
	}
}

// readStandard reads lb_config.default_cert likewise.
func (s *stackCerts) readStandard(v value) {
	s.at = v
	if !v.isStored() {
		s.standard = v.certificate(false)
	}
}

// isStored says whether v names a certificate that Rancher keeps, and reports it.
func (v value) isStored() bool {
	name, plain := v.plain()
	if plain {
		v.warn(false, "the certificate %q is stored in Rancher and cannot be had from there yet; want {cert: file, key: file}, or the label %s",
			name, certDir)
	}
	return plain
}

// readLabel reads certDir or defaultCertDir.
func (s *stackCerts) readLabel(v value, key, folder string) {
	s.at = v
	if !filepath.IsAbs(folder) {
		folder = filepath.Join(filepath.Dir(v.doc.name), folder)
	}
	if key == certDir {
		s.list = append(s.list, certs.Files{Dir: folder, Origin: v.origin()})
		return
	}
	s.standard = pairIn(folder)
	s.standard.Origin = v.origin()
}

// pairIn is the certificate of a folder: its own, else that of the first folder
// in it that has one. Whether it can be used is found out when it is.
func pairIn(folder string) *certs.Files {
	const cert, key = "fullchain.pem", "privkey.pem"
	if !exists(filepath.Join(folder, cert)) {
		if found, err := filepath.Glob(filepath.Join(folder, "*", cert)); err == nil && len(found) > 0 {
			folder = filepath.Dir(found[0])
		}
	}
	return &certs.Files{Cert: filepath.Join(folder, cert), Key: filepath.Join(folder, key)}
}

// certificates takes over those of a load balancer. Labels stand instead of all
// that lb_config says, as in Rancher.
func (l *loader) certificates(c *composeService) {
	s := &c.certs
	if c.labelled.at.node != nil {
		if s.at.node != nil {
			s.at.warn(false, "without effect: the label at %s stands instead", c.labelled.at.origin())
		}
		s = &c.labelled
	}
	l.config.Certs = append(l.config.Certs, s.list...)
	if s.standard != nil && l.first("default_cert", s.at) {
		l.config.DefaultCert = s.standard
	}
}
