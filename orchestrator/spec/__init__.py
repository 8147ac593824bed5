"""The sweep file: read once into frozen models; every broken rule named."""
