"""Who calls: certificates of units and hubs, accounts of people, and the principal both become."""

from vidhub.identity.authentication import Authentication
from vidhub.identity.ca import CertificateAuthority, Issued, ServerCertificate
from vidhub.identity.keys import HubKeys
from vidhub.identity.logins import Login, Logins
from vidhub.identity.people import People
from vidhub.identity.register import Register
from vidhub.identity.units import Enrolled, EnrolmentToken, Units

__all__ = [
    "Authentication",
    "CertificateAuthority",
    "Enrolled",
    "EnrolmentToken",
    "HubKeys",
    "Issued",
    "Login",
    "Logins",
    "People",
    "Register",
    "ServerCertificate",
    "Units",
]
